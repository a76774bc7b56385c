"""Checks a summary by pure rules, each of which names what is wrong; no model is asked.

They hold whatever the model was told by a page that it read: a sentence cites facts that exist, its
numbers and names stand in them, most of its words do, and it carries no address and nothing of our
own instructions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from services.enrichment.sources.claude.quantities import unsupported
from services.enrichment.sources.findings import Fact, Person, Sentence

MAX_SENTENCES = 6
MAX_CHARACTERS = 400
LEAKED_WORDS = 6
_STEM = 5

_ADDRESS = re.compile(
    r"https?:|www\.|\b[\w-]+\.(?:com|net|org|io|ai|co)\b|\S@\S|!?\[[^\]]*\]\(|</?\w|`|\{|\}",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
# Capitalised for grammar or as a common short form: they name nobody.
_NO_NAMES = """
i he she they his her their the a an mr ms mrs dr sec linkedin form rule ceo cfo coo cto svp evp vp
us usa january february march april may june july august september october november december monday
tuesday wednesday thursday friday saturday sunday
"""
_SMALL_WORDS = """
the and for with from that this was were has have had are his her their its who which into over
under about after before between than then also been being not per via she him they them while
during since until each all any more most other such these those
"""
_NAMELESS = frozenset(_NO_NAMES.split())
_SMALL = frozenset(_SMALL_WORDS.split())


def fault_of(
    sentences: Sequence[Sentence], facts: Sequence[Fact], person: Person, instructions: str
) -> str:
    """Return why the sentences may not stand, in words without personal data; empty if they may."""
    if not 1 <= len(sentences) <= MAX_SENTENCES:
        return f"a summary has 1 to {MAX_SENTENCES} sentences"
    texts = {fact.id: fact.text for fact in facts}
    rules = (rule for each in sentences for rule in _rules(each, texts, person, instructions))
    return next((reason for broken, reason in rules if broken), "")


def _rules(
    sentence: Sentence, texts: Mapping[str, str], person: Person, instructions: str
) -> Iterator[tuple[bool, str]]:
    """Yield each rule: whether the sentence breaks it, and what is wrong then."""
    text, ids = sentence.text, sentence.fact_ids
    yield (
        not 1 <= len(text) <= MAX_CHARACTERS,
        f"a sentence has 1 to {MAX_CHARACTERS} characters",
    )
    yield not ids or not set(ids) <= texts.keys(), "a sentence cites no known fact"
    cited = "\n".join(texts[fact_id] for fact_id in ids)
    yield bool(unsupported(text, cited)), "a number stands in no cited fact"
    yield _ADDRESS.search(text) is not None, "it carries an address or markup"
    yield _leaks(text, instructions, cited), "it repeats its instructions"
    known = _stems(f"{cited}\n{person.name}\n{person.title}\n{person.company}")
    yield not _names(text) <= known, "a name stands in no cited fact"
    said = _stems(text)
    yield 2 * len(said & known) < len(said), "a sentence says what its facts do not"


def _leaks(text: str, instructions: str, cited: str) -> bool:
    """Whether a run of words comes from the instructions, and not from what is cited."""
    leaked = _runs(text) & _runs(instructions)
    return not leaked <= _runs(cited)


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[at : at + LEAKED_WORDS]) for at in range(len(words) - LEAKED_WORDS + 1)}


def _names(text: str) -> set[str]:
    """Return the stems of what is written like a name inside the sentence."""
    found = list(_WORD.finditer(text))
    inside = (each[0] for each in found[1:] if each[0][:1].isupper())
    return {stem for word in inside for stem in _stems(word)} - {_stem(w) for w in _NAMELESS}


def _stems(text: str) -> set[str]:
    """Return the first letters of the words that carry meaning, so that endings do not matter."""
    return {_stem(word) for word in _words(text) if len(word) > 2 and word not in _SMALL}


def _stem(word: str) -> str:
    return word[:_STEM]


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    return [re.sub(r"['\u2019].*", "", word) for word in _WORD.findall(plain)]
