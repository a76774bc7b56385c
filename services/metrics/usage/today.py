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
    """The day's totals, and a fingerprint that is another as soon as one of them is."""

    totals: pb.WatchUsageResponse
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class _Look:
    begun: float
    day: asyncio.Task[Day]


class Today:
    """Reads days; what was read within FRESH_SECONDS is read for everyone."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._looks: dict[UUID, _Look] = {}

    async def of(self, tenant_id: UUID) -> Day:
        """Return the day that it is now in the tenant's zone."""
        now = asyncio.get_running_loop().time()
        look = self._looks.get(tenant_id)
        if look is None or now - look.begun > FRESH_SECONDS:
            look = _Look(now, asyncio.create_task(self._read(tenant_id)))
            self._looks[tenant_id] = look
        # One who leaves takes nothing from the others.
        return await asyncio.shield(look.day)

    def forget(self, tenant_id: UUID) -> None:
        """Keep nothing of a tenant that one watches less; others read it anew."""
        self._looks.pop(tenant_id, None)

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
