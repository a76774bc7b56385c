"""Quotas: limits of a counter by day or month; reached.py announces those that are reached."""

from __future__ import annotations

from uuid import UUID

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock
from chassis.database import Connection, Pool, tenant_transaction
from chassis.errors import NotFound
from chassis.interceptor import Context
from chassis.outbox import Relay
from services.metrics.counters import COUNTER_NUMBERS, COUNTERS, PERIOD_NUMBERS, PERIODS
from services.metrics.quotas.reached import announce_reached_limits
from services.metrics.sql import SQL
from services.metrics.store import lock_exclusive


class QuotasRpc:
    """The quotas of the caller's tenant."""

    def __init__(self, pool: Pool, relay: Relay, clock: Clock) -> None:
        self._pool = pool
        self._relay = relay
        self._clock = clock

    async def CheckQuota(
        self, request: pb.CheckQuotaRequest, context: Context
    ) -> pb.CheckQuotaResponse:
        """Say whether work may be done."""
        tenant_id, amount = current_caller().tenant_id, request.amount or 1
        async with tenant_transaction(self._pool, tenant_id) as connection:
            quotas = await self._quotas(connection, tenant_id, COUNTERS[request.counter])
        return pb.CheckQuotaResponse(
            allowed=all(not q.hard_limit or q.used + amount <= q.hard_limit for q in quotas),
            soft_limit_passed=any(q.soft_limit and q.used + amount > q.soft_limit for q in quotas),
            quotas=quotas,
        )

    async def ListQuotas(
        self, request: pb.ListQuotasRequest, context: Context
    ) -> pb.ListQuotasResponse:
        """Give all quotas."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            quotas = await self._quotas(connection, tenant_id, None)
        return pb.ListQuotasResponse(quotas=sorted(quotas, key=lambda q: (q.counter, q.period)))

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Context) -> pb.SetQuotaResponse:
        """Make or replace a quota, and count what was used of it before."""
        tenant_id, quota = current_caller().tenant_id, request.quota
        counter, period = COUNTERS[quota.counter], PERIODS[quota.period]
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await lock_exclusive(connection, tenant_id)
            await connection.execute(
                SQL.set_quota, tenant_id, counter, period, quota.soft_limit, quota.hard_limit
            )
            await connection.execute(SQL.recount_quotas, tenant_id)
            await connection.execute(SQL.unmark_raised, tenant_id, counter, period)
            quotas = await self._quotas(connection, tenant_id, counter)
            (made,) = (each for each in quotas if each.period == quota.period)
            await connection.execute(
                SQL.mark_past_reached, tenant_id, counter, period, self._clock()
            )
            await announce_reached_limits(connection, tenant_id)
        self._relay.wake()
        return pb.SetQuotaResponse(quota=made)

    async def DeleteQuota(
        self, request: pb.DeleteQuotaRequest, context: Context
    ) -> pb.DeleteQuotaResponse:
        """Remove a quota."""
        tenant_id = current_caller().tenant_id
        counter, period = COUNTERS[request.counter], PERIODS[request.period]
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await lock_exclusive(connection, tenant_id)
            if not await connection.fetchval(SQL.delete_quota, tenant_id, counter, period):
                text = f"there is no quota of {counter} by {period}"
                raise NotFound(text, reason="QUOTA_NOT_FOUND")
        return pb.DeleteQuotaResponse()

    async def _quotas(
        self, connection: Connection, tenant_id: UUID, counter: str | None
    ) -> list[pb.Quota]:
        rows = await connection.fetch(SQL.quotas, tenant_id, counter, self._clock())
        return [
            pb.Quota(
                counter=COUNTER_NUMBERS.get(row["counter"], pb.COUNTER_UNSPECIFIED),
                period=PERIOD_NUMBERS[row["period"]],
                soft_limit=row["soft_limit"],
                hard_limit=row["hard_limit"],
                used=row["used"],
                period_start=row["period_start"].isoformat(),
            )
            for row in rows
        ]
