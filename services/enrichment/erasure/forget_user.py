"""Forget a user who asked for enrichments."""

from __future__ import annotations

from uuid import UUID

from chassis import outbox
from chassis.database import Connection
from services.enrichment.sql import ANONYMOUS, SQL


async def forget_user(connection: Connection, tenant_id: UUID, user_id: UUID) -> None:
    """Replace a user by the anonymous user in runs, batches, receipts and pending events."""
    values = (tenant_id, user_id, ANONYMOUS)
    await connection.execute(SQL.anonymise_runs, *values)
    await connection.execute(SQL.anonymise_batches, *values)
    await connection.execute(SQL.anonymise_erasures, *values)
    await outbox.hold(connection)
    await connection.execute(SQL.anonymise_events, tenant_id, str(user_id), str(ANONYMOUS))
