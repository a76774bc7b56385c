"""The inbox: an event's id is written in its effect's transaction, so the effect comes once."""

from __future__ import annotations

from uuid import UUID

from chassis.database import Connection

_REMEMBER = """
insert into inbox (tenant_id, consumer, event_id) values ($1, $2, $3)
on conflict do nothing returning true
"""


async def first_time(
    connection: Connection, tenant_id: UUID, consumer: str, event_id: UUID
) -> bool:
    """Remember the event; False means that its effect is already there."""
    return bool(await connection.fetchval(_REMEMBER, tenant_id, consumer, event_id))
