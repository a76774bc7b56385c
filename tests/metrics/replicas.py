"""Two replicas that count for one tenant, each with a pool and a relay of its own."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from prospect.metrics.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import auth
from chassis.auth import Caller
from chassis.clock import Clock
from chassis.database import Pool, open_pool
from chassis.outbox import Relay
from services.metrics.counting import Counting, Recorded
from services.metrics.quotas.rpc import QuotasRpc
from services.metrics.usage.time_zone_rpc import TimeZoneRpc
from tests.harness import Database

Announced = tuple[str, bool, int]
"""What an event says: the period's start, whether it is of the hard limit, and the limit."""


@dataclass
class Replicas:
    """Two replicas, and an admin's calls to the first of them."""

    counting: Sequence[Counting]
    relays: Sequence[Relay]
    pool: Pool
    clock: Clock
    nats: Client
    tenant_id: uuid.UUID = field(default_factory=uuid.uuid4)

    async def count(self, events: Sequence[Recorded], seed: int = 1) -> None:
        """Have both replicas count all events at once, each in an order of its own."""
        dice = random.Random(seed)

        async def one(replica: Counting, event: Recorded) -> None:
            await asyncio.sleep(dice.random() * 0.02)
            await replica.count(event)

        work = [one(replica, event) for replica in self.counting for event in events]
        await asyncio.gather(*dice.sample(work, len(work)))

    async def set_quota(
        self,
        period: pb.QuotaPeriod.ValueType = pb.QUOTA_PERIOD_DAY,
        counter: pb.Counter.ValueType = pb.COUNTER_TOTAL_LOGINS,
        **limits: int,
    ) -> None:
        """Make or replace a quota."""
        quota = pb.Quota(counter=counter, period=period, **limits)  # type: ignore[arg-type]
        await self._call(self._quotas.SetQuota, pb.SetQuotaRequest(quota=quota))

    async def delete_quota(self) -> None:
        """Remove the quota of logins by day."""
        request = pb.DeleteQuotaRequest(counter=pb.COUNTER_TOTAL_LOGINS, period=pb.QUOTA_PERIOD_DAY)
        await self._call(self._quotas.DeleteQuota, request)

    async def set_zone(self, zone: str) -> None:
        """Change where days begin."""
        await self._call(TimeZoneRpc(self.pool).SetTimeZone, pb.SetTimeZoneRequest(time_zone=zone))

    async def announced(self) -> list[Announced]:
        """Return the limits that were announced, in order, once both relays have published."""
        return [(e.period_start, e.hard, e.limit) for e in await self.events()]

    async def events(self) -> list[events_pb2.UsageQuotaReached]:
        """Return the stream's events once both relays have published."""
        while any(await asyncio.gather(*(each.publish_pending() for each in self.relays))):
            pass
        jetstream = self.nats.jetstream()
        last = (await jetstream.stream_info("QUOTAS")).state.last_seq
        messages = [await jetstream.get_msg("QUOTAS", number + 1) for number in range(last)]
        return [events_pb2.UsageQuotaReached.FromString(each.data or b"") for each in messages]

    @property
    def _quotas(self) -> QuotasRpc:
        return QuotasRpc(self.pool, self.relays[0], self.clock)

    async def _call(self, rpc: Any, request: Any) -> None:
        auth.set_caller(Caller(uuid.uuid4(), self.tenant_id, frozenset()))
        await rpc(request, None)


@asynccontextmanager
async def two_replicas(database: Database, nats: Client, now: datetime) -> AsyncIterator[Replicas]:
    """Start them at a moment that stays."""
    pools = [
        await open_pool(database.dsn("metrics_app"), schema="metrics", size=4) for _ in range(2)
    ]
    relays = [Relay(pool, nats, "metrics_relay") for pool in pools]
    counting = [Counting(pool, relay) for pool, relay in zip(pools, relays, strict=True)]
    yield Replicas(counting, relays, pools[0], lambda: now, nats)
    for pool in pools:
        await pool.close()
