"""The loop that maintains the log: makes months, completes erasures, deletes expired entries.

It deletes what tenants of a shorter retention of their own do not keep, in that tenant's name.
Whole months that the log keeps no longer are dropped by the log's owner (months/drop_expired.py):
the service's role cannot.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from nats.aio.client import Client

from chassis.clock import Clock
from chassis.database import Pool, retry_if_aborted, role_transaction, tenant_transaction
from chassis.loops import repeat
from services.activity import sql
from services.activity.months.partitions import Partitions
from services.activity.retention import store
from services.activity.retention.erasure import unfinished
from services.activity.retention.kept import kept_since

KEEPER = "activity_keeper"
DELETE_ROWS = 5_000
CHECK_SECONDS = 3_600
REQUESTS_KEPT = timedelta(days=7)
_log = structlog.get_logger()


class Keeper:
    """Maintains the log at the start and every hour, in one replica at a time.

    It does so at once where this replica left an erasure unfinished (`broken_off` is set).
    """

    def __init__(
        self,
        pool: Pool,
        client: Client,
        partitions: Partitions,
        clock: Clock,
        broken_off: asyncio.Event,
    ) -> None:
        self._pool = pool
        self._client = client
        self._partitions = partitions
        self._clock = clock
        self._broken_off = broken_off

    async def run(self, stopping: asyncio.Event) -> None:
        """Maintain the log until told to stop."""
        await repeat(
            partial(self.keep, stopping),
            stopping,
            name="keeping",
            every_seconds=CHECK_SECONDS,
            early=self._broken_off,
        )

    async def keep(self, stopping: asyncio.Event) -> None:
        """Make months, forget old requests, complete erasures and delete expired entries, once."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(sql.SQL.lock_keeping):
                return
            await self._partitions.make_ahead()
            async with role_transaction(self._pool, KEEPER) as keeper:
                tenants = await store.list_retentions(keeper)
                broken_off = await store.list_unfinished_erasures(keeper)
                await store.forget_requests(keeper, self._clock() - REQUESTS_KEPT)
            for tenant_id, receipt_id in broken_off:
                erasure = await unfinished(self._pool, self._client, tenant_id, receipt_id)
                if erasure and not stopping.is_set():
                    await erasure.run(stopping)
                    _log.info("erasure completed", tenant=str(tenant_id), receipt=str(receipt_id))
            for tenant_id, days in tenants:
                await self._expire(tenant_id, kept_since(self._clock(), days), stopping)

    async def _expire(self, tenant_id: UUID, before: datetime, stopping: asyncio.Event) -> None:
        """Delete in several transactions, so that none locks many rows for long."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await store.mark_expired(connection, tenant_id, before)
        total, deleted = 0, DELETE_ROWS
        while deleted == DELETE_ROWS and not stopping.is_set():
            deleted = await retry_if_aborted(partial(self._expire_some, tenant_id, before))
            total += deleted
        if total:
            _log.info("expired", tenant=str(tenant_id), entries=total, before=str(before))

    async def _expire_some(self, tenant_id: UUID, before: datetime) -> int:
        async with tenant_transaction(self._pool, tenant_id) as connection:
            return await store.expire_some(connection, tenant_id, before, DELETE_ROWS)
