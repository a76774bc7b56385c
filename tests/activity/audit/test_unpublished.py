"""What a day's digest says of events that are not published yet."""

from __future__ import annotations

import uuid

from nats.aio.client import Client

from chassis import outbox
from chassis.database import Pool, tenant_transaction
from chassis.messaging import OutgoingEvent
from chassis.outbox import Relay
from services import topology
from services.activity import sql
from services.activity.audit import store
from tests.harness import Database


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
    assert before[tenant].first < before[other].first == before[other].last < before[tenant].last
    assert [before[tenant].count, before[other].count] == [2, 1]
    await Relay(pool, nats, sql.RELAY_ROLE).publish_pending()
    assert await store.unpublished(pool) == {}
    await enqueue(pool, tenant)
    assert (await store.unpublished(pool))[tenant].first > before[tenant].last


async def test_an_event_that_the_broker_has_and_nobody_has_handled_is_told_by_its_sequence(
    pool: Pool, nats: Client
) -> None:
    tenant = uuid.uuid4()
    await enqueue(pool, uuid.uuid4())
    await enqueue(pool, tenant)
    relay = Relay(pool, nats, sql.RELAY_ROLE, topology.ACTIVITY.consumed_by)
    await relay.publish_pending()
    assert (await store.unpublished(pool))[tenant] == store.Unpublished(published=2)


async def test_an_event_that_the_broker_has_lost_is_unpublished(
    pool: Pool, nats: Client, database: Database
) -> None:
    tenant = uuid.uuid4()
    await enqueue(pool, tenant)
    before = (await store.unpublished(pool))[tenant]
    relay = Relay(pool, nats, sql.RELAY_ROLE, topology.ACTIVITY.consumed_by)
    await relay.publish_pending()
    await database.fetch("update activity.stream_positions set generation = 1")
    assert (await store.unpublished(pool))[tenant] == before
