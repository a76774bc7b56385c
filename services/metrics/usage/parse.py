"""Between the contract and the store: the days of a request, and the counters of a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import asyncpg

from chassis.errors import InvalidArgument
from chassis.tokens import ContinuationTokens
from services.metrics.counters import COUNTERS

MAX_SPAN_DAYS = 366
# Before, zones have offsets that are no multiples of a quarter of an hour; after, days overflow.
EARLIEST, LATEST = date(1972, 1, 1), date(9000, 1, 1)
MAX_NUMBER, MAX_INDEX = 2**62, 2**31 - 1
Row = Mapping[str, Any] | asyncpg.Record


def span_of(start_date: str, end_date: str) -> tuple[date, date]:
    """Return the first and the last day of a request, or refuse them."""
    first, last = _day("start_date", start_date), _day("end_date", end_date)
    if last < first:
        raise InvalidArgument.field("end_date", "range", "must not be before start_date")
    if (last - first).days > MAX_SPAN_DAYS:
        text = f"must be at most {MAX_SPAN_DAYS} days after start_date"
        raise InvalidArgument.field("end_date", "range", text)
    return first, last


def _day(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument.field(field, "date", "must be a day, YYYY-MM-DD") from None
    if not EARLIEST <= day <= LATEST:
        raise InvalidArgument.field(field, "range", f"must be from {EARLIEST} to {LATEST}")
    return day


def position_of(
    tokens: ContinuationTokens, page_token: str, *parts: Callable[[Any], Any]
) -> list[Any] | None:
    """Return what a page token says, each part as its reader returns it; None without a token."""
    if not page_token:
        return None

    def parse(position: bytes) -> list[Any]:
        return [read(part) for read, part in zip(parts, json.loads(position), strict=True)]

    return tokens.read("page_token", page_token, parse)


def read_number(part: Any) -> int:
    """Read a number of a page token, no larger than what counts periods and activities."""
    if type(part) is not int or not 0 <= part <= MAX_NUMBER:
        raise ValueError(part)
    return part


def read_index(part: Any) -> int:
    """Read the index of a period or a counter in a page token."""
    if read_number(part) > MAX_INDEX:
        raise ValueError(part)
    return int(part)


def counters_of(row: Row) -> dict[str, int]:
    """Return a row's counters by the names that they have in Counters and DailyUsage."""
    return {name: row[name] for name in COUNTERS.values()}


def sum_of(rows: Sequence[Row]) -> Row:
    """Return what rows count together; one alone is given as it is."""
    if len(rows) == 1:
        return rows[0]
    return {name: sum([row[name] for row in rows]) for name in COUNTERS.values()}
