"""Periods of a range of local days: hours, days, weeks, months, as the zone's clock goes (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


class Period(NamedTuple):
    """From a first moment to before an end, with the first and the last local day it touches."""

    first_day: date
    last_day: date
    start: datetime
    end: datetime


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return a local day's first moment, also where the clock skips 0:00."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def days(first: date, last: date, zone: ZoneInfo) -> list[Period]:
    """Return the days; where the clock changes they have 23 or 25 hours."""
    return _cut(first, last, zone, lambda day: day)


def weeks(first: date, last: date, zone: ZoneInfo) -> list[Period]:
    """Return the weeks from Monday to Sunday, cut to the range."""
    return _cut(first, last, zone, lambda day: day + timedelta(days=6 - day.weekday()))


def months(first: date, last: date, zone: ZoneInfo) -> list[Period]:
    """Return the months, cut to the range."""
    return _cut(first, last, zone, lambda day: (day.replace(day=1) + 31 * DAY).replace(day=1) - DAY)


def hours(first: date, last: date, zone: ZoneInfo) -> list[Period]:
    """Return the hours of each day from its midnight on; a day's last may be half of one."""
    return [hour for day in days(first, last, zone) for hour in _hours(day)]


def _hours(day: Period) -> Iterator[Period]:
    start = day.start
    while start < day.end:
        end = min(start + HOUR, day.end)
        yield Period(day.first_day, day.last_day, start, end)
        start = end


def _cut(first: date, last: date, zone: ZoneInfo, last_of: Callable[[date], date]) -> list[Period]:
    periods, start = [], midnight(first, zone)
    while first <= last:
        until = min(last_of(first), last)
        end = midnight(until + DAY, zone)
        periods.append(Period(first, until, start, end))
        first, start = until + DAY, end
    return periods
