"""Events that come again and again: of a tenant whose event waits, days are moving; of others not.

An event may wait for days, as for a newer replica that knows its values. What the broker has handed
out of the stream is then handled but for such events, and whose they are is read from the stream
itself, the inbox and the dead letters.
"""

from __future__ import annotations

from contextlib import aclosing
from uuid import UUID

from nats.aio.client import Client

from chassis.database import Pool, tenant_transaction
from chassis.dead_letters import sequence_of
from chassis.messaging import event_id_of, stored
from services import topology
from services.metrics.proof.dead_letters import letters_of
from services.metrics.sql import SQL

CONSUMER = topology.ACTIVITY_RECORDED
MAX_EVENTS = 1_000
"""Events that are read of a tenant; with more of them its days are taken for moving."""


async def has_retried_events(client: Client, pool: Pool, tenant_id: UUID) -> bool:
    """Whether an event of the tenant was handed out to be counted and has not been yet."""
    info = await client.jetstream().consumer_info(CONSUMER.stream, CONSUMER.name)
    if not info.num_ack_pending or not info.ack_floor or not info.delivered:
        return False
    first, last = info.ack_floor.stream_seq + 1, info.delivered.stream_seq
    events = await _events(client, tenant_id, first, last)
    if len(events) > MAX_EVENTS:
        return True
    letters = letters_of(client, tenant_id)
    dead = {sequence_of(each.headers or {}) async for each in letters}
    open_ids = [
        event_id
        for sequence, event_id in events.items()
        if f"{CONSUMER.stream}/{sequence}" not in dead
    ]
    async with tenant_transaction(pool, tenant_id) as connection:
        counted = await connection.fetchval(SQL.count_events, tenant_id, CONSUMER.name, open_ids)
    return bool(counted < len(set(open_ids)))


async def _events(client: Client, tenant_id: UUID, first: int, last: int) -> dict[int, UUID]:
    """Return the ids of a tenant's events in a part of the stream, a few too many at most."""
    found = dict[int, UUID]()
    subject = CONSUMER.subject.replace("*", str(tenant_id))
    async with aclosing(stored(client, CONSUMER.stream, subject, first)) as events:
        async for event in events:
            sequence = event.seq or first
            if sequence > last or len(found) > MAX_EVENTS:
                break
            headers = {name.lower(): value for name, value in (event.headers or {}).items()}
            found[sequence] = event_id_of(headers, CONSUMER.stream, sequence)
    return found
