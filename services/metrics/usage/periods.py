"""Periods of a range of local days: hours, days, weeks and months (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from services.metrics.usage.calendar import DAY, LocalDays

HOUR = timedelta(hours=1)


class Period(NamedTuple):
    """From a first moment to before an end, with the first and the last local day it touches."""

    first_day: date
    last_day: date
    start: datetime
    end: datetime


def days(first: date, last: date, local: LocalDays) -> list[Period]:
    """Return the days; where the clock changes they have 23 or 25 hours."""
    return _cut(first, last, local, lambda day: day)


def weeks(first: date, last: date, local: LocalDays) -> list[Period]:
    """Return the weeks from Monday to Sunday, cut to the range."""
    return _cut(first, last, local, lambda day: day + timedelta(days=6 - day.weekday()))


def months(first: date, last: date, local: LocalDays) -> list[Period]:
    """Return the months, cut to the range."""
    return _cut(
        first, last, local, lambda day: (day.replace(day=1) + 31 * DAY).replace(day=1) - DAY
    )


def hours(first: date, last: date, local: LocalDays) -> list[Period]:
    """Return the hours of each day from its midnight on; a day's last may be half of one."""
    return [hour for day in days(first, last, local) for hour in _hours(day)]


def _hours(day: Period) -> Iterator[Period]:
    start = day.start
    while start < day.end:
        end = min(start + HOUR, day.end)
        yield Period(day.first_day, day.last_day, start, end)
        start = end


def _cut(
    first: date, last: date, local: LocalDays, last_of: Callable[[date], date]
) -> list[Period]:
    periods, start = [], local.midnight(first)
    while first <= last:
        until = min(last_of(first), last)
        end = local.midnight(until + DAY)
        periods.append(Period(first, until, start, end))
        first, start = until + DAY, end
    return periods
