"""What a day's digest says of events that are not published yet."""

from __future__ import annotations

import uuid

from nats.aio.client import Client

from chassis import outbox
from chassis.database import Pool, tenant_transaction
from chassis.messaging import OutgoingEvent
from chassis.outbox import Relay
from services.activity import sql
from services.activity.audit import store


async def enqueue(pool: Pool, tenant_id: uuid.UUID) -> None:
    """Write an event that waits."""
    event = OutgoingEvent(f"activity.recorded.{tenant_id}", "test", b"body", "tests")
    async with tenant_transaction(pool, tenant_id) as connection:
        await outbox.enqueue(connection, tenant_id, [event])


async def test_a_later_event_stands_behind_those_that_waited_before(
    pool: Pool, nats: Client
) -> None:
    tenant, other = uuid.uuid4(), uuid.uuid4()
    for each in (tenant, other, tenant):
        await enqueue(pool, each)
    before = await store.unpublished(pool)
    assert before[tenant][0] < before[other][0] == before[other][1] < before[tenant][1]
    await Relay(pool, nats, sql.RELAY_ROLE).publish_pending()
    assert await store.unpublished(pool) == {}
    await enqueue(pool, tenant)
    first, _ = (await store.unpublished(pool))[tenant]
    assert first > before[tenant][1]
