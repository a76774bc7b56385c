"""The SQL of retention and erasure."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg

from chassis.database import Connection
from services.activity.sql import EARLIEST_TIME, SQL


async def list_partitions(connection: Connection) -> list[asyncpg.Record]:
    """Return the months of the log, oldest first."""
    return await connection.fetch(SQL.list_partitions)


async def begin_erasure(
    connection: Connection, tenant_id: UUID, receipt_id: UUID, user_id: UUID, now: datetime
) -> UUID:
    """Return the id of a new receipt, or of the one of an erasure under way."""
    begun: UUID = await connection.fetchval(SQL.begin_erasure, tenant_id, receipt_id, user_id, now)
    return begun


async def lock_erasing(connection: Connection, tenant_id: UUID, user_id: UUID) -> None:
    """Lock the erasure of a user until the transaction ends."""
    await connection.execute(SQL.lock_erasing, tenant_id, user_id)


async def erase_some(
    connection: Connection, tenant_id: UUID, user_id: UUID, receipt_id: UUID, limit: int
) -> int:
    """Make up to `limit` entries of a user anonymous; return how many were found."""
    count = await connection.fetchval(SQL.erase_some, tenant_id, user_id, receipt_id, limit)
    return int(count)


async def complete_erasure(
    connection: Connection, tenant_id: UUID, receipt_id: UUID
) -> asyncpg.Record | None:
    """Forget whom a receipt is about; return it, or None where that was done before."""
    return await connection.fetchrow(SQL.complete_erasure, tenant_id, receipt_id)


async def list_unfinished_erasures(connection: Connection) -> list[tuple[UUID, UUID]]:
    """Return tenant and receipt of each unfinished erasure; needs the keeper's role."""
    rows = await connection.fetch(SQL.list_unfinished_erasures)
    return [(row["tenant_id"], row["receipt_id"]) for row in rows]


async def get_erasure(connection: Connection, tenant_id: UUID, receipt_id: UUID) -> asyncpg.Record:
    """Return a receipt that is in the database."""
    row = await connection.fetchrow(SQL.get_erasure, tenant_id, receipt_id)
    assert row is not None  # noqa: S101 -- begin_erasure wrote it
    return row


async def retention_days(connection: Connection, tenant_id: UUID) -> int | None:
    """Return a tenant's own retention in days; None where it has none."""
    days: int | None = await connection.fetchval(SQL.get_retention, tenant_id)
    return days


async def set_retention(connection: Connection, tenant_id: UUID, days: int) -> None:
    """Set a tenant's own retention in days; 0 removes it."""
    if days:
        await connection.execute(SQL.set_retention, tenant_id, days)
    else:
        await connection.execute(SQL.unset_retention, tenant_id)


async def list_retentions(connection: Connection) -> list[tuple[UUID, int]]:
    """Return the tenants with a retention of their own; needs the keeper's role."""
    rows = await connection.fetch(SQL.list_retentions)
    return [(row["tenant_id"], row["retention_days"]) for row in rows]


async def expire_some(connection: Connection, tenant_id: UUID, before: datetime, limit: int) -> int:
    """Delete up to `limit` entries that happened before a time; return how many were found."""
    return int(await connection.fetchval(SQL.expire_some, tenant_id, before, limit))


async def mark_expired(connection: Connection, tenant_id: UUID, before: datetime) -> None:
    """Remember that a tenant's entries from before a time expire."""
    await connection.execute(SQL.mark_expired, tenant_id, before)


async def expired_before(connection: Connection, tenant_id: UUID) -> datetime:
    """Return the time before which entries of a tenant ever expired."""
    moment: datetime | None = await connection.fetchval(SQL.get_expired_before, tenant_id)
    return moment or EARLIEST_TIME


async def dropped_before(connection: Connection) -> datetime:
    """Return the time before which months of the log were ever dropped."""
    moment: datetime | None = await connection.fetchval(SQL.get_dropped_before)
    return moment or EARLIEST_TIME


async def forget_requests(connection: Connection, before: datetime) -> None:
    """Forget answers to request ids from before a time; needs the keeper's role."""
    await connection.execute(SQL.forget_requests, before)
