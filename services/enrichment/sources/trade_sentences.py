"""Tells a person's trades in whole sentences, each made from rows of filings; pure.

No language model writes such a sentence or changes one. A sentence is of one person, security, kind
and day, or a total on the market of one security held in one way. What a filing gives only in a
footnote is said to be there, and never told as zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal

from services.enrichment.sources.insider_trade import (
    NON_DERIVATIVE,
    InsiderTrade,
    TradeTotal,
    market_totals,
    security,
)

MAX_DAYS = 12
_TITLES = {
    "CEO": "Chief Executive Officer", "CFO": "Chief Financial Officer",
    "COO": "Chief Operating Officer", "CTO": "Chief Technology Officer",
    "CLO": "Chief Legal Officer", "CAO": "Chief Accounting Officer",
    "EVP": "Executive Vice President", "SVP": "Senior Vice President", "VP": "Vice President",
    "GC": "General Counsel",
}  # fmt: skip
_TITLE = re.compile(rf"\b(?:{'|'.join(_TITLES)})\b")
_MARKET = {"P": "bought", "S": "sold"}
# By code and direction: what the owner did, and how; {} is what it was done with.
_DEEDS = {
    ("A", "A"): "acquired {} from the company, as a grant, award or other acquisition",
    ("D", "D"): "disposed of {} to the company",
    ("F", "D"): "delivered {} or had them withheld, to pay an exercise price or tax",
    ("M", "A"): "acquired {} by exercising or converting derivative securities",
    ("M", "D"): "exercised or converted {}",
    ("C", "A"): "acquired {} by converting derivative securities",
    ("C", "D"): "converted {}",
    ("G", "A"): "received {} as a bona fide gift",
    ("G", "D"): "gave {} away as a bona fide gift",
    ("P", "A"): "bought {} on the market",
    ("S", "D"): "sold {} on the market",
}
# The box is of the form: which of its transactions it means, it does not say.
_MARKED = ", on a form whose box says that a transaction of it was under a Rule 10b5-1 plan"
_DIRECTIONS = {"A": "acquired {}", "D": "disposed of {}"}

Told = tuple[str, str]
"""A sentence, and the address of the filing where it can be checked."""


def trade_sentences(trades: Sequence[InsiderTrade], company: str) -> Iterator[Told]:
    """Yield totals on the market, what is held, what was done each day, and as whom; newest first.

    A day that is all of a total is not told again.
    """
    totals = market_totals(trades)
    for total in totals:
        yield _total(total, company), total.rows[0].filing_url
    yield from _held(trades, company)
    told = {total.rows for total in totals}
    days = [rows for rows in _by_day(trades) if rows not in told]
    for rows in days[:MAX_DAYS]:
        yield _day(rows, company), rows[0].filing_url
    for row in trades[:1]:
        if row.owner_role:
            yield _role(row, company), row.filing_url


def coverage_sentence(company: str, filings: int, since: date | None, unread: int) -> str:
    """Say how far back the filings were read; empty where that is not known."""
    if since is None:
        return ""
    missing = f", but for {unread} that could not be read" if unread else ""
    read = f"{_number(Decimal(filings), 'filing')} read"
    return f"Ownership filings about {company} were read back to {day(since)} ({read}{missing})."


def _total(total: TradeTotal, company: str) -> str:
    least = "" if total.is_complete else "at least "
    what = f"{_number(total.shares, 'share')} of {total.security_title} of {company}"
    times = _number(Decimal(len(total.rows)), "reported transaction")
    return (
        f"{total.owner_name} {_MARKET[total.transaction_code]} {least}{what}{_held_how(total.rows)}"
        f" on the market{_when(total.first, total.last)}, in {times}"
        f"{_prices(total.rows)}{_plan(total.rows)}."
    )


def _held(trades: Sequence[InsiderTrade], company: str) -> Iterator[Told]:
    """Tell what is held directly of each security after the last trade in it."""
    newest: dict[str, InsiderTrade] = {}
    for row in trades:
        if row.table != NON_DERIVATIVE or row.ownership != "D" or not row.transaction_date:
            continue
        title = security(row.security_title)
        last = newest.setdefault(title, row)
        same = (row.accession_number, row.transaction_date)
        if same == (last.accession_number, last.transaction_date) and row.row > last.row:
            newest[title] = row
    for row in newest.values():
        if row.shares_owned_after is not None and not row.in_doubt:
            held = f"{_number(row.shares_owned_after, 'share')} of {row.security_title}"
            when = day(row.transaction_date) if row.transaction_date else ""
            yield (
                f"{row.owner_name} held {held} of {company} directly after the transactions of"
                f" {when}.",
                row.filing_url,
            )


def _by_day(trades: Sequence[InsiderTrade]) -> Iterator[tuple[InsiderTrade, ...]]:
    """Yield the rows that one sentence tells: of one day, kind and security, held in one way."""
    groups: dict[tuple[object, ...], list[InsiderTrade]] = {}
    for row in trades:
        key: tuple[object, ...] = (
            row.owner_name, row.transaction_date, row.transaction_code, row.acquired_disposed,
            row.table, security(row.security_title), row.ownership, row.in_doubt,
        )  # fmt: skip
        groups.setdefault(key, []).append(row)
    yield from map(tuple, groups.values())


def _day(rows: tuple[InsiderTrade, ...], company: str) -> str:
    row = rows[0]
    usual = _DIRECTIONS.get(row.acquired_disposed, "reported a transaction in {}")
    kind = "" if row.transaction_kind in ("unknown", "not given") else f" ({row.transaction_kind})"
    deed = _DEEDS.get((row.transaction_code, row.acquired_disposed), f"{usual}{kind}")
    when = f"On {day(row.transaction_date)}" if row.transaction_date else "On a day not given"
    doubt = f" It is in doubt, and in no total: {row.in_doubt}." if row.in_doubt else ""
    return (
        f"{when}, {row.owner_name} {deed.format(_what(rows, company))}{_held_how(rows)}"
        f"{_prices(rows)}{_plan(rows)}.{doubt}"
    )


def _what(rows: Sequence[InsiderTrade], company: str) -> str:
    title = f"{rows[0].security_title or 'securities'} of {company}"
    given = [row.shares for row in rows if row.shares is not None]
    noun = _noun(rows[0])
    if not given:
        return f"{_plural(noun)} ({title}; only a footnote says how many)"
    least = "" if len(given) == len(rows) else "at least "
    number = _number(sum(given, Decimal(0)), noun)
    return f"{least}{number} of {title}" if noun == "share" else f"{least}{number} ({title})"


def _noun(row: InsiderTrade) -> str:
    return "share" if row.table == NON_DERIVATIVE else "derivative security"


def _role(row: InsiderTrade, company: str) -> str:
    role = _TITLE.sub(lambda found: _TITLES[found[0]], row.owner_role)
    return f"{row.owner_name} files as {role} of {company.rstrip('.')}."


def _held_how(rows: Sequence[InsiderTrade]) -> str:
    return ", held indirectly," if rows[0].ownership == "I" else ""


def _prices(rows: Sequence[InsiderTrade]) -> str:
    given = sorted({row.price_per_share for row in rows if row.price_per_share is not None})
    if not given or rows[0].transaction_code == "G":  # a gift has none, and forms say 0
        return ""
    some = "" if all(row.price_per_share is not None for row in rows) else " where it is given"
    if len(given) == 1:
        return f", at {money(given[0])} each{some}"
    return f", at {money(given[0])} to {money(given[-1])} each{some}{_largest(rows)}"


def _largest(rows: Sequence[InsiderTrade]) -> str:
    """Tell the largest row by itself, where every row says how many at what price."""
    if any(row.shares is None or row.price_per_share is None for row in rows):
        return ""
    largest = max(rows, key=lambda row: row.shares or Decimal(0))
    noun = _noun(largest)
    number, price = largest.shares or Decimal(0), largest.price_per_share or Decimal(0)
    return f" (the largest of {_number(number, noun)} at {money(price)})"


def _plan(rows: Sequence[InsiderTrade]) -> str:
    planned = sum(row.under_10b5_1_plan for row in rows)
    if not planned:
        boxes = all(row.is_plan_box_checked and row.is_market_trade for row in rows)
        return _MARKED if boxes else ""
    part = "" if planned == len(rows) else f"{planned} of the transactions "
    return f", {part}under a Rule 10b5-1 plan"


def _when(first: date | None, last: date | None) -> str:
    if first is None or last is None:
        return ""
    return f" on {day(first)}" if first == last else f" between {day(first)} and {day(last)}"


def day(value: date) -> str:
    """Write a day in words."""
    return f"{value:%B} {value.day}, {value.year:04d}"


def money(value: Decimal) -> str:
    """Write an amount in dollars, with cents and no more digits than it has."""
    if not value:
        return "$0"
    whole = value.normalize()
    exponent = whole.as_tuple().exponent
    digits = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"${whole:,.{digits}f}"


def _number(value: Decimal, noun: str) -> str:
    """Write how many of something there are, with thousands separators."""
    number = f"{value.normalize():,f}"
    return f"{number} {noun if value == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
