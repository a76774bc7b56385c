"""The loop that keeps the log: months made ahead, entries deleted that a tenant keeps no longer.

A tenant's entries are deleted in pieces, as that tenant. Whole months that are older than the log
is kept are dropped by their owner (see maintenance.py): the service's role could not.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from chassis import telemetry
from chassis.clock import Clock
from chassis.database import Pool, role_transaction, tenant_transaction
from chassis.errors import AWAY
from services.activity import store
from services.activity.partitions import Partitions
from services.activity.retention import kept_since

KEEPER = "activity_keeper"
PIECE = 5_000
CHECK_SECONDS = 3_600
REQUESTS_KEPT = timedelta(days=7)
_log = structlog.get_logger()


class Keeper:
    """Looks every hour, in one replica at a time, from the start on."""

    def __init__(self, pool: Pool, partitions: Partitions, clock: Clock) -> None:
        self._pool = pool
        self._partitions = partitions
        self._clock = clock

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the log until told to stop."""
        while not stopping.is_set():
            wait: float = CHECK_SECONDS
            telemetry.start_trace(None)
            try:
                await self.keep(stopping)
            except AWAY as error:
                _log.warning("keeping waits", error=repr(error))
                wait = 5
            try:
                await asyncio.wait_for(stopping.wait(), wait)
            except TimeoutError:
                continue

    async def keep(self, stopping: asyncio.Event) -> None:
        """Make months ahead, delete what tenants keep no longer, forget old requests: once."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(store.SQL.lock_keeping):
                return
            await self._partitions.make_ahead()
            async with role_transaction(self._pool, KEEPER) as keeper:
                tenants = await store.list_retentions(keeper)
                await store.forget_requests(keeper, self._clock() - REQUESTS_KEPT)
            for tenant_id, days in tenants:
                await self._expire(tenant_id, kept_since(self._clock(), days), stopping)

    async def _expire(self, tenant_id: UUID, before: datetime, stopping: asyncio.Event) -> None:
        """Delete in pieces, so that no transaction holds many rows for long."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await store.mark_expired(connection, tenant_id, before)
        total, deleted = 0, PIECE
        while deleted == PIECE and not stopping.is_set():
            async with tenant_transaction(self._pool, tenant_id) as connection:
                deleted = await store.expire_some(connection, tenant_id, before, PIECE)
            total += deleted
        if total:
            _log.info("expired", tenant=str(tenant_id), entries=total, before=str(before))
