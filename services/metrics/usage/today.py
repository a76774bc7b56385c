"""A tenant's day so far, read once for all who watch it at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.clock import Clock, to_timestamp
from chassis.database import Pool, tenant_transaction
from services.metrics.sql import SQL
from services.metrics.usage.parse import counters_of

FRESH_SECONDS = 0.5
_FINGERPRINT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Day:
    """The day's totals, and a fingerprint that differs as soon as one of them does."""

    totals: pb.WatchUsageResponse
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class _Reading:
    begun: float
    day: asyncio.Task[Day]


class Today:
    """Reads days; a reading serves all who ask within FRESH_SECONDS."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._readings: dict[UUID, _Reading] = {}

    async def of(self, tenant_id: UUID) -> Day:
        """Return the day that it is now in the tenant's zone."""
        now = asyncio.get_running_loop().time()
        reading = self._readings.get(tenant_id)
        if reading is None or now - reading.begun > FRESH_SECONDS:
            reading = _Reading(now, asyncio.create_task(self._read(tenant_id)))
            self._readings[tenant_id] = reading
        # A watcher that is cancelled does not cancel the reading that others wait for.
        return await asyncio.shield(reading.day)

    def forget(self, tenant_id: UUID) -> None:
        """Drop what is kept of a tenant; whoever still watches it reads it again."""
        self._readings.pop(tenant_id, None)

    async def _read(self, tenant_id: UUID) -> Day:
        read_at = self._clock()
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await connection.fetchrow(SQL.today, tenant_id, read_at)
        assert row is not None  # noqa: S101 -- a day has its row, also with nothing in it
        totals = pb.WatchUsageResponse(
            date=row["date"].isoformat(),
            totals=pb.Counters(**counters_of(row)),
            active_users=row["active_users"],
        )
        said = totals.SerializeToString(deterministic=True)
        totals.MergeFrom(pb.WatchUsageResponse(read_at=to_timestamp(read_at)))
        return Day(totals, blake2b(said, digest_size=_FINGERPRINT_BYTES).digest())
