"""Does every number of a sentence stand in the facts that it cites? Pure.

A number is compared by value and unit, not by spelling: "1.2 million" is "1,200,000", "May 4, 2022"
is "2022-05-04", and "May 2022" or "in 2022" hold where a cited day lies in them. A percentage is no
count, and money is money of the same currency only. What mixes digits and letters (10b5-1, Q3) is
a label, and must stand there as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

COUNT, PERCENT, DAY, MONTH, DAY_OF_YEAR, YEAR, LABEL = (
    "", "%", "day", "month", "day of year", "year", "label",
)  # fmt: skip

_MONTH_NAMES = """
jan january, feb february, mar march, apr april, may, jun june, jul july, aug august,
sep sept september, oct october, nov november, dec december
"""
_MONTHS = {
    name: number
    for number, names in enumerate(_MONTH_NAMES.split(","), 1)
    for name in names.split()
}
_SCALES = {
    "k": 3, "thousand": 3, "m": 6, "mn": 6, "million": 6,
    "b": 9, "bn": 9, "billion": 9, "t": 12, "tn": 12, "trillion": 12,
}  # fmt: skip
_CURRENCIES = {"$": "$", "us$": "$", "usd": "$", "€": "€", "eur": "€", "£": "£", "gbp": "£"}
_ONE_NAMES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_TEN_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES = _ONE_NAMES.split()
# "one" is left out: it is a pronoun more often than a number.
_WORDS = {word: value for value, word in enumerate(_ONES) if word != "one"} | {
    word: 10 * value for value, word in enumerate(_TEN_NAMES.split(), 2)
}

_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_SCALE = "|".join(sorted(_SCALES, key=len, reverse=True))
_CURRENCY = "|".join(re.escape(each) for each in sorted(_CURRENCIES, key=len, reverse=True))
_WORD = "|".join(_WORDS)
_TOKEN = re.compile(
    rf"""
    \b(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})\b
    | \b(?P<month>{_MONTH})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}})\b)?
    | \b(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month2>{_MONTH})\b\.?
      (?:,?\s+(?P<year2>\d{{4}})\b)?
    | \b(?P<month3>{_MONTH})\.?,?\s+(?P<year3>\d{{4}})\b
    | (?<![\w.])(?:(?P<currency>{_CURRENCY})\s?)?(?P<sign>(?<![\w)\]])[-+\u2212])?
      (?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)
      (?:\s?(?P<scale>{_SCALE})\b)?(?:\s?(?P<percent>%|percent\b|per\ cent\b))?(?![\w]|[.,]\d)
    | \b(?P<word>{_WORD})\b(?:[-\s](?P<ones>{"|".join(_ONES[1:10])})\b)?
      (?:[-\s](?P<hundred>hundred)\b)?(?:[-\s](?P<word_scale>thousand|million|billion)\b)?
      (?:\s(?P<word_percent>percent\b|per\ cent\b))?
    | (?P<label>(?=[\w.,/-]*\d)\w[\w.,/-]*|\b(?:dozens?|hundreds?|thousands?|millions?|billions?)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)

_BEFORE_A_YEAR = re.compile(
    r"\b(?:in|of|since|during|from|until|through|before|after|and|to|by|late|early|mid|year)\s+$",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number by what it counts (`unit`) and its value, which is a day, a label or a decimal."""

    unit: str
    value: Decimal | date | tuple[int, int] | str


def unsupported(sentence: str, cited: str) -> list[Quantity]:
    """Return the numbers of a sentence that do not stand in the cited text."""
    known = set(quantities(cited))
    return [each for each in quantities(sentence) if not _stands_in(each, known)]


def quantities(text: str) -> Iterator[Quantity]:
    """Yield every number of a text, in any spelling."""
    plain = unicodedata.normalize("NFKC", text)
    for found in _TOKEN.finditer(plain):
        parts = {name: value.casefold() for name, value in found.groupdict().items() if value}
        after = _BEFORE_A_YEAR.search(plain, max(0, found.start() - 20), found.start()) is not None
        number = _calendar(parts) or _number(parts, may_be_year=after)
        yield number or Quantity(LABEL, found[0].casefold().strip(".,/-"))


def _stands_in(wanted: Quantity, known: Set[Quantity]) -> bool:
    if wanted in known:
        return True
    if wanted.unit == COUNT:  # "159.94" where the fact says "$159.94"
        return any(each.value == wanted.value and each.unit in _UNITS_OF_VALUE for each in known)
    days = [each.value for each in known if isinstance(each.value, date)]
    if wanted.unit == MONTH:
        return any((day.year, day.month) == wanted.value for day in days)
    if wanted.unit == DAY_OF_YEAR:
        return any((day.month, day.day) == wanted.value for day in days)
    if wanted.unit == YEAR:
        months = (each.value for each in known if each.unit == MONTH)
        years = {Decimal(day.year) for day in days}
        years |= {Decimal(month[0]) for month in months if isinstance(month, tuple)}
        return wanted.value in years or Quantity(COUNT, wanted.value) in known
    return False


_UNITS_OF_VALUE = frozenset({YEAR, *_CURRENCIES.values()})


def _calendar(parts: dict[str, str]) -> Quantity | None:
    """Read a day, a month, or a day of any year; None where there is none such."""
    try:
        if iso := parts.get("iso"):
            return Quantity(DAY, date.fromisoformat(iso))
        if "month3" in parts:
            return Quantity(MONTH, (int(parts["year3"]), _MONTHS[parts["month3"]]))
        name, day = parts.get("month", parts.get("month2")), parts.get("day", parts.get("day2"))
        if name is None or day is None:
            return None
        year = parts.get("year", parts.get("year2"))
        if year is None:
            return Quantity(DAY_OF_YEAR, (_MONTHS[name], int(day)))
        return Quantity(DAY, date(int(year), _MONTHS[name], int(day)))
    except ValueError:  # such as 30 February: then it stands for itself
        return None


def _number(parts: dict[str, str], *, may_be_year: bool) -> Quantity | None:
    """Read a number in digits or words; None where there is none such."""
    if number := parts.get("number"):
        value = Decimal(number.replace(",", ""))
        value = value.scaleb(_SCALES[parts["scale"]]) if "scale" in parts else value
        value = -value if parts.get("sign") in ("-", "\u2212") else value
        if "percent" in parts:
            return Quantity(PERCENT, value)
        if currency := parts.get("currency"):
            return Quantity(_CURRENCIES[currency], value)
        is_year = may_be_year and "scale" not in parts and _YEAR.fullmatch(number)
        return Quantity(YEAR if is_year else COUNT, value)
    if word := parts.get("word"):
        whole = _WORDS[word] + (_ONES.index(parts["ones"]) if "ones" in parts else 0)
        whole *= 100 if "hundred" in parts else 1
        scaled = Decimal(whole).scaleb(_SCALES.get(parts.get("word_scale", ""), 0))
        return Quantity(PERCENT if "word_percent" in parts else COUNT, scaled)
    return None
