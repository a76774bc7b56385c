"""Limits that are reached: marked and announced once, in the transaction that reaches them."""

from __future__ import annotations

from uuid import UUID

import asyncpg
from prospect.metrics.v1 import events_pb2

from chassis import outbox
from chassis.clock import to_timestamp
from chassis.database import Connection
from chassis.messaging import OutgoingEvent
from services.metrics.counters import COUNTER_NUMBERS, PERIOD_NUMBERS
from services.metrics.sql import SOURCE, SQL


async def announce_reached_limits(connection: Connection, tenant_id: UUID) -> bool:
    """Mark the limits that are reached now, and enqueue an event for each, in one transaction."""
    rows = await connection.fetch(SQL.mark_reached, tenant_id)
    events = [
        _event(tenant_id, row, hard=kind == "hard")
        for row in rows
        for kind in ("soft", "hard")
        if row[kind]
    ]
    await outbox.enqueue(connection, tenant_id, events)
    return bool(events)


def _event(tenant_id: UUID, row: asyncpg.Record, *, hard: bool) -> OutgoingEvent:
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
