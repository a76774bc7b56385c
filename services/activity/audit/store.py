"""The SQL of the audit: day digests and recounts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID

import asyncpg

from chassis.database import Connection, Pool, role_transaction
from services import topology
from services.activity.sql import RELAY_ROLE, SQL


async def day_digests(connection: Connection, day: date) -> list[asyncpg.Record]:
    """Return each tenant's count and digest of one UTC day."""
    return await connection.fetch(SQL.day_digests, day)


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A tenant's events that wait: how many, and the outbox ids of the first and the last.

    `published` is the sequence of the newest one in the stream that is perhaps not handled.
    """

    count: int = 0
    first: int = 0
    last: int = 0
    published: int = 0


async def unpublished(pool: Pool) -> dict[UUID, Unpublished]:
    """Return what is on its way of each tenant."""
    async with role_transaction(pool, RELAY_ROLE) as connection:
        rows = await connection.fetch(SQL.unpublished, topology.ACTIVITY_STREAM.name)
    return {
        row["tenant_id"]: Unpublished(
            row["count"], row["first"] or 0, row["last"] or 0, row["published"] or 0
        )
        for row in rows
    }


async def count_day(
    connection: Connection, tenant_id: UUID, day: date, by_quarter_hour: bool
) -> list[asyncpg.Record]:
    """Return one tenant's counts of one UTC day by user, action and new_list."""
    return await connection.fetch(SQL.count_day, tenant_id, day, by_quarter_hour)


async def tenants_past(connection: Connection, day: date, today: date) -> list[UUID]:
    """Return the tenants whose retention no longer keeps a day."""
    rows = await connection.fetch(SQL.tenants_past, day, today)
    return [row["tenant_id"] for row in rows]
