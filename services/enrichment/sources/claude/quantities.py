"""Does every number of a sentence stand in the facts that it cites? Pure.

A number is compared by value and unit, not by spelling: "1.2 million" is "1,200,000", "May 4, 2022"
is "2022-05-04", and "May 2022" or "in 2022" hold where a cited day lies in them. A percentage is no
count, and money is money of the same currency only, with its sign or its name. 05/04/2022 is a day
as Americans write it. What mixes digits and letters (10b5-1, Q3) is a label, and must stand there
as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Set
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
_MONEY_WORDS = {
    "dollar": "$", "dollars": "$", "usd": "$", "euro": "€", "euros": "€", "eur": "€",
    "pounds": "£", "gbp": "£",
}  # fmt: skip
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
_MONEY_WORD = "|".join(sorted(_MONEY_WORDS, key=len, reverse=True))
_WORD = "|".join(_WORDS)
_TOKEN = re.compile(
    rf"""
    \b(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})\b
    | (?<![\w/])(?P<us_month>\d{{1,2}})/(?P<us_day>\d{{1,2}})/(?P<us_year>\d{{4}})(?![\w/])
    | \b(?P<month>{_MONTH})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}})\b)?
    | \b(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month2>{_MONTH})\b\.?
      (?:,?\s+(?P<year2>\d{{4}})\b)?
    | \b(?P<month3>{_MONTH})\.?,?\s+(?P<year3>\d{{4}})\b
    | (?<![\w.])(?:(?P<currency>{_CURRENCY})\s?)?(?P<sign>(?<![\w)\]])[-+\u2212])?
      (?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)
      (?:\s?(?P<scale>{_SCALE})\b)?(?:\s?(?P<percent>%|percent\b|per\ cent\b)
      |\s(?P<money>{_MONEY_WORD})\b)?(?![\w]|[.,]\d)
    | \b(?P<word>{_WORD})\b(?:[-\s](?P<ones>{"|".join(_ONES[1:10])})\b)?
      (?:[-\s](?P<hundred>hundred)\b)?(?:[-\s](?P<word_scale>thousand|million|billion)\b)?
      (?:\s(?P<word_percent>percent\b|per\ cent\b)|\s(?P<word_money>{_MONEY_WORD})\b)?
    | (?P<label>(?=[\w.,/-]*\d)\w[\w.,/-]*|\b(?:dozens?|hundreds?|thousands?|millions?|billions?)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)

_BEFORE_A_YEAR = re.compile(
    r"\b(?:in|of|since|during|from|until|through|before|after|and|to|by|late|early|mid|year)\s+$",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_THOUSANDS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_DASHES = re.compile(r"(?<=\w)[\u2010-\u2015\u2212](?=\w)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number by what it counts (`unit`) and its value, which is a day, a label or a decimal."""

    unit: str
    value: Decimal | date | tuple[int, int] | str


def unsupported(sentence: str, cited: str) -> list[Quantity]:
    """Return the numbers of a sentence that do not stand in the cited text."""
    return missing(quantities(sentence), set(quantities(cited)))


def missing(wanted: Iterable[Quantity], known: Set[Quantity]) -> list[Quantity]:
    """Return the numbers that are none of those known."""
    return [each for each in wanted if not _stands_in(each, known)]


def quantities(text: str) -> Iterator[Quantity]:
    """Yield every number of a text, in any spelling."""
    for number, _, _ in located(plain(text)):
        yield number


def located(text: str) -> Iterator[tuple[Quantity, int, int]]:
    """Yield every number of a `plain` text with where it begins and ends."""
    for found in _TOKEN.finditer(text):
        parts = {name: value.casefold() for name, value in found.groupdict().items() if value}
        after = _BEFORE_A_YEAR.search(text, max(0, found.start() - 20), found.start()) is not None
        number = _calendar(parts) or _number(parts, may_be_year=after)
        number = number or Quantity(LABEL, found[0].casefold().strip(".,/-"))
        yield number, found.start(), found.end()


def plain(text: str) -> str:
    """Return a text in which numbers have one kind of digit, dash and thousands separator."""
    text = unicodedata.normalize("NFKC", _THOUSANDS.sub(",", text))
    return _DASHES.sub("-", text)


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
        year, month, day = _day_in(parts)
        if not (month and day):
            return None
        return (
            Quantity(DAY, date(year, month, day)) if year else Quantity(DAY_OF_YEAR, (month, day))
        )
    except ValueError:  # such as 30 February: then it stands for itself
        return None


def _day_in(parts: dict[str, str]) -> tuple[int, int, int]:
    """Return year, month and day, each 0 where it is not given."""

    def number(*names: str) -> int:
        return int(next((parts[name] for name in names if name in parts), 0))

    month = _MONTHS.get(parts.get("month", parts.get("month2", "")), 0)
    year, day = number("year", "year2", "us_year"), number("day", "day2", "us_day")
    return year, month or number("us_month"), day


def _number(parts: dict[str, str], *, may_be_year: bool) -> Quantity | None:
    """Read a number in digits or words; None where there is none such."""
    if digits := parts.get("number"):
        value = Decimal(digits.replace(",", "")).scaleb(_SCALES.get(parts.get("scale", ""), 0))
        value = -value if parts.get("sign") in ("-", "\u2212") else value
    elif word := parts.get("word"):
        whole = _WORDS[word] + (_ONES.index(parts["ones"]) if "ones" in parts else 0)
        whole *= 100 if "hundred" in parts else 1
        value = Decimal(whole).scaleb(_SCALES.get(parts.get("word_scale", ""), 0))
    else:
        return None
    is_year = may_be_year and "scale" not in parts and _YEAR.fullmatch(digits or "")
    return Quantity(_unit(parts) or (YEAR if is_year else COUNT), value)


def _unit(parts: dict[str, str]) -> str:
    """Return a number's percent or currency; empty where it has none."""
    if "percent" in parts or "word_percent" in parts:
        return PERCENT
    name = parts.get("money", parts.get("word_money", ""))
    return _CURRENCIES.get(parts.get("currency", "")) or _MONEY_WORDS.get(name, "")
