"""Is this reporting owner the person we ask about?

EDGAR writes a person LAST FIRST MIDDLE, or LAST SUFFIX FIRST MIDDLE, in any case, mostly without
accents, at times in natural order; we know people as First Middle Last. Matching is conservative,
because a false match puts a stranger's trades on a prospect: the last name must be the same, the
first name the same, a well-known short form of it, its initial, or the middle name that the person
goes by; middle names and suffixes must not contradict. An umlaut is written u or ue.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from services.enrichment.sources.given_names import GIVEN_NAMES, is_short_form
from services.enrichment.sources.name_additions import DEGREES, SUFFIXES, forms_of

_TITLES = frozenset({"mr", "mrs", "ms", "miss", "dr", "prof", "sir", "hon", "rev"})

_COMPANY = """
inc incorporated corp corporation llc llp lllp ltd limited company plc gmbh trust trustee
trustees ttee revocable irrevocable grat estate foundation fund funds partners partnership
holdings holding capital group associates ventures investments investment investors advisors
advisers management bank bancorp insurance equity lp gp ag nv bv sa se co
"""
_COMPANY_WORDS = frozenset(_COMPANY.split())
_JOINT = re.compile(r"&|\+|\bet\s+al\b|\band\b", re.IGNORECASE)
_EDGAR_MARK = re.compile(r"/[^/]*/?\s*$")
_INITIALS = re.compile(r"\b([^\W\d_])\.(?=[^\W\d_]\b)")
_DOTTED_DEGREE = re.compile(r"\b(ph\.?\s?d|m\.d|j\.d|m\.b\.a|c\.p\.a)\b\.?", re.IGNORECASE)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
MAX_UMLAUT_WORDS = 4
_LETTERS = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "ß": "ss",
        "\u0131": "i",
    }
)


class Kind(IntEnum):
    """How the first names agree; of two owners the better kind is meant."""

    INITIAL = 1
    OTHER_NAME = 2
    SAME = 3


@dataclass(frozen=True, slots=True)
class Match:
    """How sure it is that two names are one person's, from 0 to 1, and why.

    `agreeing` counts what beyond first and last name was asked and agrees: middle names, a suffix.
    `has_other_suffix` says that the owner has a suffix that was not asked: a son, or his father.
    """

    confidence: float
    reason: str
    kind: Kind = Kind.SAME
    agreeing: int = 0
    has_other_suffix: bool = False

    def weaker(self, by: float, reason: str) -> Match:
        """Return the match with less confidence."""
        return replace(
            self, confidence=round(self.confidence - by, 2), reason=f"{self.reason}, {reason}"
        )


@dataclass(frozen=True, slots=True)
class _Name:
    words: tuple[str, ...]
    suffix: str


def match_owner(person: str, owner: str) -> Match | None:
    """Match a person's name in natural order to a reporting owner in EDGAR's order."""
    asking, filing = _natural_order(person), owner.replace(",", " ")
    asked, filed = _read(asking), _read(filing)
    if len(asked.words) < 2 or len(filed.words) < 2 or _is_company(asked, filed, owner):
        return None
    if asked.suffix and filed.suffix and asked.suffix != filed.suffix:
        return None
    last = _words_of_a_hyphen(filing)
    matches = (
        match
        for mine, theirs in itertools.product(_spellings(asking), _spellings(filing))
        for match in (*_splits(mine, theirs, last), _in_natural_order(mine, theirs))
    )
    best = max(filter(None, matches), key=lambda match: match.confidence, default=None)
    if best is None or not (asked.suffix or filed.suffix):
        return best
    if asked.suffix == filed.suffix:
        return replace(best, agreeing=best.agreeing + 1)
    return replace(best.weaker(0.05, "one without suffix"), has_other_suffix=bool(filed.suffix))


def match_person(person: str, other: str) -> Match | None:
    """Match two names in natural order, as people and directories write them.

    Directories have them with pronouns and credentials ("Jane Roe (She/Her), RN, BSN"), and with a
    last name of one letter where its owner hides the rest ("Jane R.").
    """
    if _plain(person) and _plain(person) == _plain(other):
        return Match(1.0, "same name")  # also one of a single word, or with a number
    one, two = _readings(person), _readings(other)
    found = (_match_natural(mine, theirs) for mine, theirs in itertools.product(one, two))
    return max(filter(None, found), key=lambda match: match.confidence, default=None)


def _readings(name: str) -> set[_Name]:
    """Return the ways to read a name in natural order, with or without what is added to it."""
    natural = map(_natural_order, forms_of(name))
    return {
        _Name(tuple(words), _read(form).suffix) for form in natural for words in _spellings(form)
    }


def _match_natural(one: _Name, two: _Name) -> Match | None:
    if one.suffix and two.suffix and one.suffix != two.suffix:
        return None
    borders = {"".join(two.words[border:]): border for border in range(1, len(two.words))}
    last_names = (("".join(one.words[given:]), given) for given in range(1, len(one.words)))
    matches = [
        _given_names(one.words[:given], two.words[: borders[last_name]])
        for last_name, given in last_names
        if last_name in borders
    ]
    matches += [_hidden_last_name(one, two), _hidden_last_name(two, one)]
    return max(filter(None, matches), key=lambda match: match.confidence, default=None)


def _hidden_last_name(whole: _Name, hidden: _Name) -> Match | None:
    """Match "Jane R." to a Jane whose last name begins with R."""
    is_hidden = len(hidden.words) == 2 and len(hidden.words[1]) == 1 < len(hidden.words[0])
    if not is_hidden or len(whole.words) < 2 or whole.words[0] != hidden.words[0]:
        return None
    same = whole.words[-1][0] == hidden.words[1]
    return Match(0.5, "same first name and last initial", Kind.INITIAL) if same else None


def words_of(name: str) -> tuple[str, ...]:
    """Return a name's words in natural order: plain, without titles and degrees, suffix last."""
    read = _read(_natural_order(name))
    return (*read.words, read.suffix) if read.suffix else read.words


def _words_of_a_hyphen(owner: str) -> int:
    """Return how many words the last name has at least: DOE-ROE is one name."""
    first = owner.split(maxsplit=1)[0]
    return len(_read(first).words) if "-" in first else 1


def _splits(person: Sequence[str], owner: Sequence[str], least: int) -> list[Match | None]:
    """Try every border between given and last names: last names may be several words."""
    return [
        _given_names(person[:given], owner[last:])
        for given in range(1, len(person))
        for last in range(least, len(owner))
        if "".join(person[given:]) == "".join(owner[:last]) and len("".join(owner[:last])) > 1
    ]


def _in_natural_order(person: Sequence[str], owner: Sequence[str]) -> Match | None:
    """Take the owner as filed First Last, where the last name can hardly be a given one."""
    if person[-1] != owner[-1] or owner[-1] in GIVEN_NAMES or len(person[0]) == 1:
        return None
    match = _given_names(person[:-1], owner[:-1])
    if match is None or match.kind is not Kind.SAME:
        return None
    return match.weaker(0.1, "filed in natural order")


def _given_names(person: Sequence[str], owner: Sequence[str]) -> Match | None:
    first = _first_name(person[0], owner[0])
    pairs = list(zip(person[1:], owner[1:], strict=False))
    if first is None or not all(_agrees(mine, filed) for mine, filed in pairs):
        return _by_middle_name(person, owner)
    agreeing = sum(2 if mine == filed else 1 for mine, filed in pairs)
    if first.kind is Kind.INITIAL and any(mine == filed != mine[0] for mine, filed in pairs):
        first = Match(0.85, "same last name, first initial and middle name", Kind.OTHER_NAME)
    first = replace(first, agreeing=agreeing)
    if person[1:] == owner[1:]:
        return first
    return first.weaker(0.05, "middle name abbreviated" if pairs else "middle name on one side")


def _by_middle_name(person: Sequence[str], owner: Sequence[str]) -> Match | None:
    """Match one who goes by the middle name alone on one side: Kent Walden, WALDEN JOHN KENT."""
    used, full = sorted((person, owner), key=len)
    if len(used) != 1 or len(used[0]) == 1 or used[0] not in full[1:]:
        return None
    return Match(0.7, "same last name, goes by the middle name", Kind.OTHER_NAME)


def _first_name(person: str, owner: str) -> Match | None:
    if person == owner and len(person) > 1:
        return Match(1.0, "same first and last name")
    if 1 in (len(person), len(owner)):
        same = person[0] == owner[0]
        return Match(0.6, "same last name and first initial", Kind.INITIAL) if same else None
    if is_short_form(person, owner):
        return Match(0.8, "short form of the first name", Kind.OTHER_NAME)
    return None


def _spellings(text: str) -> set[tuple[str, ...]]:
    """Return a name's words in every way in which its umlauts are written without."""
    composed = unicodedata.normalize("NFC", text).lower()
    plain, german = _read(composed).words, _read(composed.translate(_UMLAUTS)).words
    if sum(one != other for one, other in zip(plain, german, strict=False)) > MAX_UMLAUT_WORDS:
        return {plain, german}
    return set(itertools.product(*({*pair} for pair in zip(plain, german, strict=True))))


def _agrees(one: str, other: str) -> bool:
    return one == other or (1 in (len(one), len(other)) and one[0] == other[0])


def _is_company(asked: _Name, filed: _Name, owner: str) -> bool:
    """Tell a company or several people; a word of the person's own name is no company word."""
    return bool(_JOINT.search(owner)) or bool(
        set(filed.words) & (_COMPANY_WORDS - set(asked.words))
    )


def _natural_order(name: str) -> str:
    """Turn "Adams, Katherine L." round; what follows a comma may also be only suffixes."""
    last, comma, rest = name.partition(",")
    words = _read(rest).words
    return f"{rest.replace(',', ' ')} {last}" if comma and words else name.replace(",", " ")


def _read(name: str) -> _Name:
    """Split a name into plain lower-case words, without titles, degrees, marks and suffix."""
    text = _DOTTED_DEGREE.sub(" ", _EDGAR_MARK.sub(" ", name))
    text = re.sub(r"['\u2018\u2019\u02bc`]", "", _INITIALS.sub(r"\1 ", text))
    words = re.findall(r"[^\W\d_]+", _plain(text))
    while words and words[0] in _TITLES and len(words) > 2:
        words.pop(0)
    while words and words[-1] in DEGREES:
        words.pop()
    suffixes = [word for word in words[1:] if word in SUFFIXES]
    kept = words[:1] + [word for word in words[1:] if word not in SUFFIXES]
    if words and words[0] in SUFFIXES:
        kept, suffixes = kept[1:], [words[0], *suffixes]
    return _Name(tuple(kept), suffixes[0] if suffixes else "")


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    return "".join(char for char in folded if not unicodedata.combining(char))
