"""The loop that deletes ended runs older than the history that is kept, and their request ids.

A prospect's newest run stays as long as the prospect does. Open runs and the ledger are never
deleted.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from chassis.clock import Clock
from chassis.database import Pool, role_transaction, tenant_transaction
from chassis.loops import repeat
from services.enrichment.sql import SQL

KEEPER = "enrichment_keeper"
DELETE_ROWS = 2_000
CHECK_SECONDS = 86_400
REQUESTS_KEPT = timedelta(days=1)
_log = structlog.get_logger()


class Keeper:
    """Looks once a day, in one replica at a time, from the start on."""

    def __init__(self, pool: Pool, history: timedelta, clock: Clock) -> None:
        self._pool = pool
        self._history = history
        self._clock = clock

    async def run(self, stopping: asyncio.Event) -> None:
        """Delete old history until told to stop."""
        keep = partial(self.keep, stopping)
        await repeat(keep, stopping, name="keeping", every_seconds=CHECK_SECONDS)

    async def keep(self, stopping: asyncio.Event) -> None:
        """Delete what is old enough, once."""
        before = self._clock() - self._history
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(SQL.lock_keeping):
                return
            async with role_transaction(self._pool, KEEPER) as keeper:
                tenants = await keeper.fetch(SQL.tenants_with_history, before)
            for row in tenants:
                await self._forget(row["tenant_id"], before, stopping)
            await self._forget_requests(before, stopping)

    async def _forget(self, tenant_id: UUID, before: datetime, stopping: asyncio.Event) -> None:
        """Delete a tenant's old runs, DELETE_ROWS a transaction, and its old batches."""
        total, deleted = 0, DELETE_ROWS
        while deleted == DELETE_ROWS and not stopping.is_set():
            async with tenant_transaction(self._pool, tenant_id) as connection:
                deleted = await connection.fetchval(SQL.forget_runs, tenant_id, before, DELETE_ROWS)
            total += deleted
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await connection.execute(SQL.forget_batches, tenant_id, before)
        if total:
            _log.info("history forgotten", tenant=str(tenant_id), runs=total, before=str(before))

    async def _forget_requests(self, before: datetime, stopping: asyncio.Event) -> None:
        deleted, taken_before = DELETE_ROWS, self._clock() - REQUESTS_KEPT
        while deleted == DELETE_ROWS and not stopping.is_set():
            async with role_transaction(self._pool, KEEPER) as keeper:
                deleted = await keeper.fetchval(
                    SQL.forget_request_ids, taken_before, before, DELETE_ROWS
                )
