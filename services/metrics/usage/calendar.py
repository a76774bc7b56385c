"""Where the days of a time zone begin, as PostgreSQL has it.

PostgreSQL counts by local day, so it alone says where a day begins and ends: Python's zone data may
be of another version, in which a zone's rules differ.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from chassis.database import Connection
from services.metrics.sql import SQL

DAY = timedelta(days=1)
KEPT_SECONDS = 600.0
"""How long the days of a zone are kept: they change when PostgreSQL gets newer zone data."""
MAX_KEPT = 1_000
_Key = tuple[str, date, date]


@dataclass(frozen=True, slots=True)
class LocalDays:
    """The first moments of successive days, and of the day after the last."""

    first: date
    starts: Sequence[datetime]

    def midnight(self, day: date) -> datetime:
        """Return a day's first moment, also where the clock skips 0:00 or has it twice."""
        return self.starts[(day - self.first).days]


class Calendar:
    """Knows where the days of zones begin; what is asked often is read once in a while."""

    def __init__(self) -> None:
        self._kept: dict[_Key, tuple[float, LocalDays]] = {}

    async def days(self, connection: Connection, zone: str, first: date, last: date) -> LocalDays:
        """Return where the days from `first` to `last` begin in a zone, and where they end."""
        now, key = time.monotonic(), (zone, first, last)
        kept = self._kept.get(key)
        if kept and now - kept[0] < KEPT_SECONDS:
            return kept[1]
        days = await read_days(connection, zone, first, last)
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[key] = now, days
        return days


async def read_days(connection: Connection, zone: str, first: date, last: date) -> LocalDays:
    """Read where the days from `first` to `last` begin in a zone, and where they end."""
    rows = await connection.fetch(SQL.local_days, zone, first, last + DAY)
    return LocalDays(first, [row["start"] for row in rows])
