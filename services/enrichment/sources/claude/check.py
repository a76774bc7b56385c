"""Holds a sentence that a model wrote to the span of the page that it quotes; no model is asked.

The span stands on the page, word for word, and one sentence of it says what the model's sentence
says: each number by value and unit, each name, and each word that is neither small nor about the
page itself. What the span denies, plans, doubts or bounds, the sentence does too, and names keep
their places. A refusal names the rule and nothing of the person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from services.enrichment.sources.claude.naming import is_told_otherwise
from services.enrichment.sources.claude.quantities import (
    COUNT,
    Quantity,
    located,
    missing,
    plain,
    quantities,
)
from services.enrichment.sources.claude.wording import (
    BOUNDS,
    DIRECTIONS,
    JOINERS,
    KEPT,
    OF_THE_PAGE,
    PRONOUNS,
    SAY,
    SMALL,
    WORD,
    folded,
    meaning,
    prepared,
)
from services.enrichment.sources.findings import Person

MAX_CHARACTERS = 400
_ADDRESS = re.compile(
    r"https?:|www\.|\b[\w-]+\.(?:com|net|org|io|ai|co)\b|\S@\S|!?\[[^\]]*\]\(|</?\w|`|\{|\}",
    re.IGNORECASE,
)
_HEADER = re.compile(r" \((\d{4}-\d{2}-\d{2})\): ")
_END = re.compile(
    r"(?<!\bInc\.)(?<!\bCorp\.)(?<!\bLtd\.)(?<!\bCo\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bDr\.)"
    r"(?<!\bJr\.)(?<!\bSt\.)(?<!\bNo\.)(?<!\b[A-Z]\.)(?<=[.!?])[\"\u201d)]*\s+(?=[\"\u201c(]?[A-Z])"
)
_RELATION = re.compile(
    r"\b(from|for|than|since|during|against|after|before|until) "
    r"(?:(?:the|an?|its|her|his) )?([^\W\d_]+)",
    re.IGNORECASE,
)
_TRADED = re.compile(r"\b(?:shares?|stocks?|options?|rsus?|securities|10b5-1)\b", re.IGNORECASE)
_DEEDS = ("buy", "sell", "grant", "exercise", "gift", "withhold", "dispose", "trade")
_TRADES = frozenset(map(meaning, _DEEDS))


class _Text:
    """A text as the rules read it."""

    def __init__(self, text: str) -> None:
        self.text = prepared(plain(text))

    @cached_property
    def numbers(self) -> list[tuple[Quantity, int, int]]:
        return list(located(self.text))

    @cached_property
    def without_numbers(self) -> str:
        text = self.text
        for _, begin, end in self.numbers:
            text = text[:begin] + " " * (end - begin) + text[end:]
        return text

    @cached_property
    def written(self) -> list[str]:
        return [found[0] for found in WORD.finditer(self.without_numbers)]

    @cached_property
    def words(self) -> list[str]:
        return [folded(word) for word in self.written]

    @cached_property
    def kept(self) -> frozenset[str]:
        """The words without those that are written as a name, or the month of May."""
        return frozenset(
            folded(word)
            for number, word in enumerate(self.written)
            if not (number and word in ("May", "Will"))
        )

    @cached_property
    def meanings(self) -> frozenset[str]:
        return frozenset(map(meaning, self.words))

    @cached_property
    def relations(self) -> frozenset[tuple[str, str]]:
        """What the text relates to: (from, year), (for, quarter), ..."""
        found = _RELATION.findall(self.without_numbers)
        return frozenset((before.casefold(), meaning(folded(word))) for before, word in found)

    @cached_property
    def bounds(self) -> dict[Quantity, frozenset[str]]:
        """What bounds each number in the three words before it, or directs it in the last."""
        found, end = {}, 0
        for number, begin, after in self.numbers:
            before = [folded(word) for word in WORD.findall(self.text[end:begin])[-3:]]
            found[number] = (frozenset(before) & BOUNDS) | (frozenset(before[-1:]) & DIRECTIONS)
            end = after
        return found

    @cached_property
    def counted(self) -> dict[Quantity, frozenset[str]]:
        """What each count counts: the two words after it."""
        return {
            number: frozenset(meaning(folded(word)) for word in WORD.findall(self.text[end:])[:2])
            for number, _, end in self.numbers
            if number.unit == COUNT
        }


@dataclass(frozen=True, slots=True)
class _Pair:
    """A sentence, the sentence of the page that it may rest on, and what is known beside it."""

    said: _Text
    source: _Text
    published: frozenset[Quantity]
    person: Person


def fault_of(text: str, quote: str, page: str, person: Person) -> str:
    """Return why a sentence that quotes a page may not stand; empty if it may."""
    if not 1 <= len(text) <= MAX_CHARACTERS:
        return f"a sentence has 1 to {MAX_CHARACTERS} characters"
    if _ADDRESS.search(text):
        return "it carries an address or markup"
    quote, page = " ".join(quote.split()), " ".join(page.split())
    if not quote or quote not in page:
        return "what it quotes does not stand on the page"
    said, published = _Text(text), frozenset(quantities(" ".join(_HEADER.findall(page))))
    pairs = [_Pair(said, _Text(part), published, person) for part in _sentences(quote)]
    faults = [next(_faults(pair), (len(_RULES), "")) for pair in pairs]
    return max(faults)[1]  # of the sentence that it comes closest to


def _sentences(quote: str) -> Iterator[str]:
    """Yield a page's title and the sentences of its text, as far as they are quoted."""
    for part in _HEADER.split(quote):
        yield from (each for each in _END.split(part) if each.strip())


def _faults(pair: _Pair) -> Iterator[tuple[int, str]]:
    """Yield the rules that are broken, each with how many hold before it."""
    for held, (breaks, reason) in enumerate(_RULES):
        if breaks(pair):
            yield held, reason


def _says_nothing(pair: _Pair) -> bool:
    return not any(_carries_meaning(word) and word not in SAY for word in pair.said.words)


def _has_strange_words(pair: _Pair) -> bool:
    """Whether a word stands neither in the source nor speaks of the page."""
    known = frozenset(pair.source.words) | _known_names(pair)
    of_page = any(word in OF_THE_PAGE or word == "according" for word in pair.said.words)
    for number, (word, written) in enumerate(zip(pair.said.words, pair.said.written, strict=True)):
        if not _carries_meaning(word) or word in known or (word in SAY and of_page):
            continue
        is_name = number > 0 and written[:1].isupper()
        if is_name or meaning(word) not in pair.source.meanings:
            return True
    return False


def _known_names(pair: _Pair) -> frozenset[str]:
    """Return the person's and the company's names, each where a part of it stands in the source."""
    names = (_words_of(name) for name in (pair.person.name, pair.person.company))
    return frozenset(word for name in names if name & set(pair.source.words) for word in name)


@lru_cache(maxsize=64)
def _words_of(name: str) -> frozenset[str]:
    return frozenset(_Text(name).words)


def _carries_meaning(word: str) -> bool:
    return not (word in SMALL or word in JOINERS or word in OF_THE_PAGE)


def _has_strange_number(pair: _Pair) -> bool:
    wanted = [number for number, _, _ in pair.said.numbers]
    known = {number for number, _, _ in pair.source.numbers}
    return bool(missing(wanted, known | pair.published))


def _bounds_otherwise(pair: _Pair) -> bool:
    ours, theirs = pair.said.bounds, pair.source.bounds
    return any(ours[number] != theirs[number] for number in ours.keys() & theirs.keys())


def _counts_otherwise(pair: _Pair) -> bool:
    """Whether a count counts what another one does in the source."""
    theirs = pair.source.counted
    return any(
        word in words
        for number, after in pair.said.counted.items()
        for word in after - theirs.get(number, frozenset())
        for other, words in theirs.items()
        if other != number
    )


def _relates_otherwise(pair: _Pair) -> bool:
    return not pair.said.relations <= pair.source.relations


def _changes(kept: frozenset[str]) -> Callable[[_Pair], bool]:
    def changes(pair: _Pair) -> bool:
        return bool(kept & pair.said.kept) != bool(kept & pair.source.kept)

    return changes


def _speaks_of_somebody_else(pair: _Pair) -> bool:
    """Whether a pronoun stands for somebody whom the source does not speak of."""
    meant = PRONOUNS | _words_of(pair.person.name)
    return bool(PRONOUNS & set(pair.said.words)) and not meant & set(pair.source.words)


def _tells_a_trade(pair: _Pair) -> bool:
    return bool(_TRADES & pair.said.meanings) and _TRADED.search(pair.said.text) is not None


def _tells_otherwise(pair: _Pair) -> bool:
    return is_told_otherwise(pair.said.without_numbers, pair.source.without_numbers)


_RULES: tuple[tuple[Callable[[_Pair], bool], str], ...] = (
    (_says_nothing, "it says nothing"),
    (_tells_a_trade, "it tells a trade, which is told from the filings alone"),
    (_has_strange_words, "a word does not stand in what it quotes"),
    (_has_strange_number, "a number does not stand in what it quotes"),
    *((_changes(words), f"{name} is left out or put in") for name, words in KEPT.items()),
    (_bounds_otherwise, "a number has other bounds than in what it quotes"),
    (_counts_otherwise, "a number counts something else than in what it quotes"),
    (_speaks_of_somebody_else, "a pronoun stands for somebody else"),
    (_tells_otherwise, "names change places"),
    (_relates_otherwise, "it relates to something else than what it quotes"),
)
