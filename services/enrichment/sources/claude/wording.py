"""The words of a text by what they mean, for the check of what a model writes; pure.

A word that is not listed means itself, without its ending. The lists are closed: what a sentence
says must stand in what it quotes, but for small words and words that speak of the page itself.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_ENDING = re.compile(r"['\u2019].*")
_GROUPS = """
join joins joined joining come comes came coming move moves moved
appoint appoints appointed appointment name names named naming become becomes became
lead leads led leading head heads headed run runs ran running oversee oversees oversaw
speak speaks spoke spoken speaking talk talks talked
launch launches launched start starts started begin begins began begun open opens opened
grow grows grew grown growing growth rise rises rose risen increase increases increased
fall falls fell fallen falling decline declines declined drop drops dropped decrease decreased
make makes made making produce produces produced manufacture manufactures manufactured
build builds built building
win wins won winning
leave leaves left leaving depart departs departed
hold holds held holding
give gives gave given
teach teaches taught
pay pays paid
lose loses lost losing
buy buys bought buying purchase purchases purchased acquire acquires acquired acquisition
sell sells sold selling sale divest divests divested
company firm business
plant factory
revenue revenues turnover
will shall plan plans planned planning intend intends intended expect expects expected
say says said saying tell tells told state states stated announce announces announced add adds added
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SAY = _words("""
say says said saying tell tells told state states stated announce announces announced add adds
added quote quotes quoted report reports reported write writes wrote mention mentions mentioned
according
""")
OF_THE_PAGE = _words("page pages report article story post website site profile headline release")
JOINERS = _words("also further moreover meanwhile besides addition dated published")
SMALL = _words("""
a an the and of in on at to for with from by as is are was were be been being has have had do does
did that this these those which who whom whose where it its they them their there here he she him
her his hers i mr mrs ms dr
""")
PRONOUNS = _words("he she him her his hers")
_NEGATION = """
not no never none nobody nothing neither nor without outside deny denies denied refuse refuses
refused decline declined fail fails failed unable lack lacks hardly cannot
"""
_PLAN = """
will shall plan plans planned planning intend intends intended expect expects expected aim aims
going scheduled
"""
_DOUBT = """
may might could would should can possible possibly likely unlikely perhaps reportedly allegedly
alleged rumoured rumored consider considers considering if unless whether
"""
KEPT = {
    "a negation": _words(_NEGATION),
    "a plan": _words(_PLAN),
    "a doubt": _words(_DOUBT),
}
BOUNDS = _words("""
about nearly almost around roughly approximately over under least most than up down below above
""")
DIRECTIONS = _words("to from")
_TITLES = {
    "chief executive officer": "ceo", "chief executive": "ceo", "chief financial officer": "cfo",
    "chief operating officer": "coo", "chief technology officer": "cto",
    "senior vice president": "svp", "executive vice president": "evp", "vice president": "vp",
    "general counsel": "gc",
}  # fmt: skip
_SHORT = {short: short for short in _TITLES.values()}
_TITLE = re.compile("|".join(rf"\b{each}\b" for each in _TITLES | _SHORT), re.IGNORECASE)
_MEANINGS = {
    form: f"#{number}"
    for number, line in enumerate(_GROUPS.strip().splitlines())
    for form in line.split()
}
_STEM = re.compile(r"(?:ing|ed|es|s|ly)$")
_IS_TO = re.compile(r"\b(?:is|are|was|were) to (?=[a-z])")
_NEGATED = re.compile(r"\b(?:can|\w+n)['\u2019]t\b", re.IGNORECASE)


def prepared(text: str) -> str:
    """Return a text with titles short and in lower case, and a plan and a negation as words."""
    text = _TITLE.sub(lambda found: (_TITLES | _SHORT)[found[0].casefold()], text)
    text = _IS_TO.sub("will ", text)
    return _NEGATED.sub(lambda found: f"{found[0][:-3]} not", text)


@lru_cache(maxsize=4_096)
def folded(word: str) -> str:
    """Return a word without case, accents and what follows an apostrophe."""
    decomposed = unicodedata.normalize("NFKD", _ENDING.sub("", word.casefold()))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


@lru_cache(maxsize=4_096)
def meaning(word: str) -> str:
    """Return what a folded word means: its group of words, or the word without its ending."""
    return _MEANINGS.get(word) or _stem(word)


def _stem(word: str) -> str:
    if word.endswith(("ies", "ied")) and len(word) > 4:
        return f"{word[:-3]}y"
    stem = _STEM.sub("", word) if len(word) > 4 else word
    if len(stem) > 3 and stem[-1] == stem[-2]:
        stem = stem[:-1]
    return stem.removesuffix("e") if len(stem) > 3 else stem
