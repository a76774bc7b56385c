"""Quotas: limits of a counter by day or month, told of once when they are reached."""

from __future__ import annotations

from uuid import UUID

import asyncpg
from prospect.metrics.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import outbox
from chassis.auth import current_caller
from chassis.clock import to_timestamp
from chassis.database import Connection, tenant_transaction
from chassis.errors import NotFound
from chassis.messaging import OutgoingEvent
from chassis.server import Context
from services.metrics.store import COUNTERS, SOURCE, SQL, lock_exclusive
from services.metrics.tools import Tools

PERIODS = {pb.QUOTA_PERIOD_DAY: "day", pb.QUOTA_PERIOD_MONTH: "month"}
COUNTER_NUMBERS = {name: number for number, name in COUNTERS.items()}
PERIOD_NUMBERS = {name: number for number, name in PERIODS.items()}


async def tell_reached(connection: Connection, tenant_id: UUID) -> bool:
    """Write down the limits that are reached now, and an event for each, in this transaction."""
    rows = await connection.fetch(SQL.reach, tenant_id)
    events = [
        _news(tenant_id, row, hard=kind == "hard")
        for row in rows
        for kind in ("soft", "hard")
        if row[kind]
    ]
    await outbox.enqueue(connection, tenant_id, events)
    return bool(events)


def _news(tenant_id: UUID, row: asyncpg.Record, *, hard: bool) -> OutgoingEvent:
    message = events_pb2.UsageQuotaReached(
        tenant_id=str(tenant_id),
        counter=COUNTER_NUMBERS[row["counter"]],
        period=PERIOD_NUMBERS[row["period"]],
        period_start=row["period_start"].isoformat(),
        hard=hard,
        limit=row["hard_limit" if hard else "soft_limit"],
        used=row["used"],
        reached_at=to_timestamp(row["reached_at"]),
    )
    return OutgoingEvent.of(f"metrics.quota.reached.{tenant_id}", message, SOURCE)


class Quotas:
    """The quotas of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def CheckQuota(
        self, request: pb.CheckQuotaRequest, context: Context
    ) -> pb.CheckQuotaResponse:
        """Say whether work may be done."""
        tenant_id, amount = current_caller().tenant_id, request.amount or 1
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
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
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            quotas = await self._quotas(connection, tenant_id, None)
        return pb.ListQuotasResponse(quotas=sorted(quotas, key=lambda q: (q.counter, q.period)))

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Context) -> pb.SetQuotaResponse:
        """Make or replace a quota, and count what was used of it before."""
        tenant_id, quota = current_caller().tenant_id, request.quota
        counter, period = COUNTERS[quota.counter], PERIODS[quota.period]
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            await lock_exclusive(connection, tenant_id)
            await connection.execute(
                SQL.set_quota, tenant_id, counter, period, quota.soft_limit, quota.hard_limit
            )
            await connection.execute(SQL.recount_quotas, tenant_id)
            await connection.execute(SQL.forget_reached, tenant_id, counter, period)
            quotas = await self._quotas(connection, tenant_id, counter)
            (made,) = (each for each in quotas if each.period == quota.period)
            await connection.execute(SQL.pass_over, tenant_id, counter, period, self._tools.clock())
            await tell_reached(connection, tenant_id)
        self._tools.relay.wake()
        return pb.SetQuotaResponse(quota=made)

    async def DeleteQuota(
        self, request: pb.DeleteQuotaRequest, context: Context
    ) -> pb.DeleteQuotaResponse:
        """Remove a quota."""
        tenant_id = current_caller().tenant_id
        counter, period = COUNTERS[request.counter], PERIODS[request.period]
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            await lock_exclusive(connection, tenant_id)
            if not await connection.fetchval(SQL.delete_quota, tenant_id, counter, period):
                raise NotFound(f"no quota of {counter} by {period}")
        return pb.DeleteQuotaResponse()

    async def _quotas(
        self, connection: Connection, tenant_id: UUID, counter: str | None
    ) -> list[pb.Quota]:
        rows = await connection.fetch(SQL.quotas, tenant_id, counter, self._tools.clock())
        return [
            pb.Quota(
                counter=COUNTER_NUMBERS[row["counter"]],
                period=PERIOD_NUMBERS[row["period"]],
                soft_limit=row["soft_limit"],
                hard_limit=row["hard_limit"],
                used=row["used"],
                period_start=row["period_start"].isoformat(),
            )
            for row in rows
        ]
