"""Is this reporting owner the person we ask about?

EDGAR writes a person LAST FIRST MIDDLE, or LAST SUFFIX FIRST MIDDLE, in any case, mostly without
accents; we know people as First Middle Last. Matching is conservative, because a false match puts
a stranger's trades on a prospect: the last name must be the same, the first name the same, a
well-known short form of it, or its initial; middle names and suffixes must not contradict.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv"})
_TITLES = frozenset({"mr", "mrs", "ms", "miss", "dr", "prof", "sir", "hon", "rev"})
_DEGREES = frozenset({"phd", "md", "jd", "mba", "cpa", "cfa", "esq", "dds", "dvm"})

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

# One line a name: the full form, then the short forms by which business people go.
_SHORT_FORMS = """
abigail abby | alexander alex | alexandra alex | andrew andy drew | anthony tony | barbara barb
benjamin ben | charles charlie chuck | christine chris | christopher chris | cynthia cindy
daniel dan danny | david dave | deborah deb debbie | donald don | douglas doug | edward ed eddie
elizabeth beth liz | eugene gene | frederick fred | gerald jerry | gregory greg | jacob jake
james jim jimmy jamie | jeffrey jeff | jennifer jen jenny | jonathan jon | joseph joe
joshua josh | katherine kate kathy katie | kathleen kathy | kenneth ken | kimberly kim
lawrence larry | leonard len | margaret maggie meg peggy | matthew matt | michael mike
nathaniel nate | nicholas nick | pamela pam | patricia pat patty | patrick pat | peter pete
philip phil | phillip phil | raymond ray | rebecca becky | richard rich rick dick
robert bob bobby rob | ronald ron | samuel sam | samantha sam | stephen steve | steven steve
susan sue | theodore ted | thomas tom tommy | timothy tim | victoria vicky | vincent vince
walter walt | william bill billy will
"""
_FULL_FORMS: dict[str, set[str]] = {}
for _line in re.split(r"[|\n]", _SHORT_FORMS):
    for _short in _line.split()[1:]:
        _FULL_FORMS.setdefault(_short, set()).add(_line.split()[0])


@dataclass(frozen=True, slots=True)
class Match:
    """How sure it is that two names are one person's, from 0 to 1, and why."""

    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Name:
    words: tuple[str, ...]
    suffix: str


def match_owner(person: str, owner: str) -> Match | None:
    """Match a person's name in natural order to a reporting owner in EDGAR's order."""
    asked = _read(_natural_order(person))
    filed = _read(owner.replace(",", " "))
    if len(asked.words) < 2 or len(filed.words) < 2 or _is_company(asked, filed, owner):
        return None
    if asked.suffix and filed.suffix and asked.suffix != filed.suffix:
        return None
    best = max(
        filter(None, _splits(asked.words, filed.words)),
        key=lambda match: match.confidence,
        default=None,
    )
    if best is not None and asked.suffix != filed.suffix:
        return Match(round(best.confidence - 0.05, 2), f"{best.reason}, one without suffix")
    return best


def match_person(person: str, other: str) -> Match | None:
    """Match two names in natural order, as people and directories write them."""
    if _plain(person) and _plain(person) == _plain(other):
        return Match(1.0, "same name")  # also one of a single word, or with a number
    one, two = _read(_natural_order(person)), _read(_natural_order(other))
    if one.suffix and two.suffix and one.suffix != two.suffix:
        return None
    matches = [
        _given_names(one.words[:given], two.words[:theirs])
        for given in range(1, len(one.words))
        for theirs in range(1, len(two.words))
        if "".join(one.words[given:]) == "".join(two.words[theirs:])
    ]
    return max(filter(None, matches), key=lambda match: match.confidence, default=None)


def words_of(name: str) -> tuple[str, ...]:
    """Return a name's words in natural order: plain, without titles and degrees, suffix last."""
    read = _read(_natural_order(name))
    return (*read.words, read.suffix) if read.suffix else read.words


def _splits(person: Sequence[str], owner: Sequence[str]) -> list[Match | None]:
    """Try every border between given and last names: last names may be several words."""
    return [
        _given_names(person[:given], owner[last:])
        for given in range(1, len(person))
        for last in range(1, len(owner))
        if "".join(person[given:]) == "".join(owner[:last]) and len("".join(owner[:last])) > 1
    ]


def _given_names(person: Sequence[str], owner: Sequence[str]) -> Match | None:
    first = _first_name(person[0], owner[0])
    if first is None:
        return None
    pairs = list(zip(person[1:], owner[1:], strict=False))
    if not all(_agrees(mine, filed) for mine, filed in pairs):
        return None
    if person[1:] == owner[1:]:
        return first
    words = "middle name abbreviated" if pairs else "middle name on one side"
    return Match(round(first.confidence - 0.05, 2), f"{first.reason}, {words}")


def _first_name(person: str, owner: str) -> Match | None:
    if person == owner and len(person) > 1:
        return Match(1.0, "same first and last name")
    if 1 in (len(person), len(owner)):
        same = person[0] == owner[0]
        return Match(0.6, "same last name and first initial") if same else None
    if owner in _FULL_FORMS.get(person, ()) or person in _FULL_FORMS.get(owner, ()):
        return Match(0.8, "short form of the first name")
    return None


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
    while words and words[-1] in _DEGREES:
        words.pop()
    suffixes = [word for word in words[1:] if word in SUFFIXES]
    kept = words[:1] + [word for word in words[1:] if word not in SUFFIXES]
    if words and words[0] in SUFFIXES:
        kept, suffixes = kept[1:], [words[0], *suffixes]
    return _Name(tuple(kept), suffixes[0] if suffixes else "")


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    return "".join(char for char in folded if not unicodedata.combining(char))
