"""Between the contract and the store: the days of a request, and the counters of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import asyncpg

from chassis.errors import InvalidArgument
from services.metrics.store import COUNTERS

MOST_DAYS = 366
Row = Mapping[str, Any] | asyncpg.Record


def span_of(start_date: str, end_date: str) -> tuple[date, date]:
    """Return the first and the last day of a request, or refuse them."""
    first, last = _day("start_date", start_date), _day("end_date", end_date)
    if last < first:
        raise InvalidArgument.field("end_date", "range", "must not be before start_date")
    if (last - first).days > MOST_DAYS:
        text = f"must be at most {MOST_DAYS} days after start_date"
        raise InvalidArgument.field("end_date", "range", text)
    return first, last


def _day(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
        if not date(1972, 1, 1) <= day <= date(9000, 1, 1):
            raise ValueError
    except ValueError:
        raise InvalidArgument.field(field, "date", "must be a day, YYYY-MM-DD") from None
    return day


def counters_of(row: Row) -> dict[str, int]:
    """Return a row's counters by the names that they have in Counters and DailyUsage."""
    return {name: row[name] for name in COUNTERS.values()}


def sum_of(rows: Sequence[Row]) -> Row:
    """Return what rows count together; one alone is given as it is."""
    if len(rows) == 1:
        return rows[0]
    return {name: sum([row[name] for row in rows]) for name in COUNTERS.values()}
