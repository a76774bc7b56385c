"""The log's months: made ahead of time, and on demand for late entries inside retention."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import asyncpg
import structlog

from chassis.clock import Clock
from chassis.database import Pool, retry_if_aborted
from chassis.transient import RetryLater
from services.activity.sql import SQL

T = TypeVar("T")
MONTHS_AHEAD = timedelta(days=92)  # this month and the next three
_DAY = 86_400_000_000
_log = structlog.get_logger()


class Partitions:
    """Makes months, and remembers which exist, so that recording asks only about new ones."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._known: set[tuple[int, int]] = set()

    async def cover(self, created_at: Sequence[int]) -> None:
        """Make the months of these times, in microseconds since 1970, where they are missing."""
        days = {micros // _DAY for micros in created_at}
        missing = {_month(day) for day in days} - self._known
        for year, month in sorted(missing):
            day = date(year, month, 1)
            await self._ensure(day, day)

    async def covering(
        self, created_at: Sequence[int], transaction: Callable[[], Awaitable[T]]
    ) -> T:
        """Make the months of these times, then run a transaction that appends such entries.

        A month that was there may have been dropped: an operator can drop more than this process
        was told of. It is made again then, and the transaction run again.
        """
        for _ in range(2):
            await self.cover(created_at)
            try:
                return await retry_if_aborted(transaction)
            except asyncpg.CheckViolationError as error:
                if error.constraint_name:
                    raise
                # Not a constraint of the table: the entry has no partition.
                self._known.clear()
        raise RetryLater("a month that an entry needs is being dropped")

    async def make_ahead(self) -> int:
        """Make this month and the next three; return how many were missing."""
        today = self._clock().date()
        return await self._ensure(today.replace(day=1), today + MONTHS_AHEAD)

    async def _ensure(self, first: date, last: date) -> int:
        made = int(await self._pool.fetchval(SQL.ensure_partitions, first, last))
        month = first
        while month <= last:
            self._known.add((month.year, month.month))
            month = month_after(month)
        if made:
            _log.info("partitions made", count=made, first=str(first), last=str(last))
        return made


def month_after(day: date) -> date:
    """Return the first day of the month after a day's."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _month(day: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(day * 86_400, UTC)
    return moment.year, moment.month
