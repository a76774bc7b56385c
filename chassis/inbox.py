"""The inbox: an event's id is written in its effect's transaction, so the effect happens once.

An id is kept for 40 days, longer than any stream keeps an event or a dead letter; row level
security hides younger ids from the role that deletes them.
"""

from __future__ import annotations

from uuid import UUID

from chassis.database import Connection, Pool, role_transaction

_REMEMBER = """
insert into inbox (tenant_id, consumer, event_id) values ($1, $2, $3)
on conflict do nothing returning true
"""
_FORGET = """
delete from inbox where ctid = any(array(
  select ctid from inbox where handled_at < now() - interval '40 days' limit $1))
"""
DELETE_ROWS = 5_000


async def first_time(
    connection: Connection, tenant_id: UUID, consumer: str, event_id: UUID
) -> bool:
    """Remember the event; return False where its effect is in the database already."""
    return bool(await connection.fetchval(_REMEMBER, tenant_id, consumer, event_id))


async def forget_old(pool: Pool, relay_role: str) -> int:
    """Delete the ids of events that cannot be delivered any more; return how many there were."""
    total, found = 0, DELETE_ROWS
    while found == DELETE_ROWS:  # some at a time, so that no transaction locks many rows for long
        async with role_transaction(pool, relay_role) as connection:
            done = await connection.execute(_FORGET, DELETE_ROWS)
        found = int(done.split()[-1])
        total += found
    return total
