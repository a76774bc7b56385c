"""A batch as a whole: closing it, following it, and ending it with its event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2

from chassis import outbox
from chassis.clock import Clock
from chassis.database import Connection, Pool, tenant_transaction
from chassis.errors import found
from services.enrichment.reading import messages, store
from services.enrichment.reading.wakeups import Watchers
from services.enrichment.sql import SQL
from services.enrichment.worker import announcements

REST_SECONDS = 0.5
MAX_ENDED = 1_000
ABANDONED_AFTER = timedelta(minutes=1)
"""A batch that its caller left open is followed for so long after its last run's end."""


async def close_batch(
    connection: Connection, tenant_id: UUID, batch_id: UUID, now: datetime
) -> None:
    """Close a batch, to which no more chunks come; end it where its runs have ended already.

    Both this and the last run's end lock the batch's row: whichever comes second ends the batch.
    """
    await connection.execute(SQL.close_batch, tenant_id, batch_id, now)
    await end_batches(connection, tenant_id, [batch_id], now)


async def end_batches(
    connection: Connection, tenant_id: UUID, batch_ids: Sequence[UUID], now: datetime
) -> None:
    """End those of the batches, which are locked, that are closed and have no open run."""
    rows = await connection.fetch(SQL.end_batches, tenant_id, batch_ids, now, [])
    events = [
        announcements.batch_ended(tenant_id, row["batch_id"], row["user_id"], now) for row in rows
    ]
    await outbox.enqueue(connection, tenant_id, events)


@dataclass(frozen=True, slots=True)
class BatchNews:
    """How far a batch has come, and the runs that have ended since the news before."""

    progress: pb.BatchProgress
    ended: list[prospect_pb2.Run]
    position: int
    is_over: bool


class BatchFollower:
    """Follows batches to their ends."""

    def __init__(self, pool: Pool, clock: Clock, watchers: Watchers) -> None:
        self._pool = pool
        self._clock = clock
        self._watchers = watchers

    async def follow(
        self, tenant_id: UUID, batch_id: UUID, position: int
    ) -> AsyncGenerator[BatchNews, None]:
        """Yield news of a batch, at most twice a second, up to its last run's end."""
        now = asyncio.get_running_loop().time
        known: pb.BatchProgress | None = None
        async with self._watchers.watching(tenant_id) as woken:
            while True:
                news = await self._look(tenant_id, batch_id, position)
                told_at = now()
                if news.ended or news.progress != known:
                    yield news
                if news.is_over:
                    return
                known, position = news.progress, news.position
                if len(news.ended) < MAX_ENDED:
                    await self._watchers.wait(woken)
                await asyncio.sleep(told_at + REST_SECONDS - now())

    async def _look(self, tenant_id: UUID, batch_id: UUID, position: int) -> BatchNews:
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await store.get_batch_progress(connection, tenant_id, batch_id)
            batch = found(row, "batch", batch_id)
            # Read after the counts, so that every run that they count as ended is there.
            rows = await store.list_ended_in_batch(
                connection, tenant_id, batch_id, position, MAX_ENDED
            )
        if rows:
            position = rows[-1][0]["end_order"]
        ended = [messages.run_message(*each) for each in rows]
        all_told = not (batch["pending"] or batch["in_progress"]) and len(rows) < MAX_ENDED
        abandoned = self._clock() - batch["last_at"] > ABANDONED_AFTER
        is_over = all_told and (batch["closed_at"] is not None or abandoned)
        return BatchNews(messages.progress_message(batch), ended, position, is_over)
