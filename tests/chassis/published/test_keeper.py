"""What was published and not yet handled is told again where the broker has lost it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from chassis import messaging, outbox
from chassis.broker.client import connect
from chassis.broker.streams import ensure
from chassis.database import Pool, tenant_transaction
from chassis.messaging import OutgoingEvent
from chassis.outbox import Relay
from chassis.published.keeper import PublishedEvents
from services import topology
from tests.broker import Broker
from tests.harness import Database, holding

TENANT = uuid.uuid4()
CONSUMER = topology.ACTIVITY_RECORDED
NOW = timedelta(0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own."""
    broker = Broker(tmp_path / "nats")
    yield broker
    broker.stop()


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[Client]:
    """A connection that lasts, to a broker with all streams and consumers."""
    client = await connect(broker.url, "test")
    await declare(client)
    yield client
    await client.close()


@pytest.fixture
def relay(pool: Pool, client: Client) -> Relay:
    """The relay of the activity service."""
    return Relay(pool, client, "activity_relay", topology.ACTIVITY.consumed_by)


@pytest.fixture
def kept(pool: Pool, client: Client, relay: Relay) -> PublishedEvents:
    """What the activity service has published."""
    return PublishedEvents(pool, client, relay, topology.ACTIVITY.consumed_by)


async def reached(client: Client) -> None:
    """Wait until the broker answers again."""
    async with asyncio.timeout(30):
        while True:
            with suppress(nats.errors.Error):
                await client.request("$JS.API.INFO", timeout=0.5)
                return
            await asyncio.sleep(0.05)


async def declare(client: Client) -> None:
    """Make the streams and consumers that are missing, as the services do."""
    await reached(client)
    consumers = [each for part in topology.SERVICES.values() for each in part.consumers]
    await ensure(client, topology.STREAMS, consumers)


async def publish(
    pool: Pool, relay: Relay, count: int, subject: str = f"activity.recorded.{TENANT}"
) -> list[uuid.UUID]:
    """Publish events as the service does; return their ids."""
    events = [OutgoingEvent(subject, "test", b"body", "tests") for _ in range(count)]
    async with tenant_transaction(pool, TENANT) as connection:
        await outbox.enqueue(connection, TENANT, events)
    assert await relay.publish_pending() == count
    return [event.event_id for event in events]


async def handle(client: Client, count: int = 1_000) -> list[uuid.UUID]:
    """Acknowledge so many events as metrics does; return the ids of those that came."""
    jetstream, ids = client.jetstream(), list[uuid.UUID]()
    pending = (await jetstream.consumer_info(CONSUMER.stream, CONSUMER.name)).num_pending
    subscription = await jetstream.pull_subscribe_bind(CONSUMER.name, stream=CONSUMER.stream)
    for message in await subscription.fetch(min(count, pending)) if pending else []:
        assert message.headers
        ids.append(uuid.UUID(message.headers["ce-id"]))
        await message.ack_sync()
    await subscription.unsubscribe()
    return ids


async def look(kept: PublishedEvents, relay: Relay) -> int:
    """Look at the streams, and publish what is to be told again; return how many."""
    await kept.look(NOW)
    return await relay.publish_pending()


async def count_of(database: Database) -> int:
    (row,) = await database.fetch("select count(*) as n from activity.published")
    return int(row["n"])


async def test_an_event_that_was_not_handled_is_kept(
    pool: Pool, relay: Relay, kept: PublishedEvents, database: Database
) -> None:
    await publish(pool, relay, 3)
    assert await look(kept, relay) == 0
    assert await count_of(database) == 3


async def test_an_event_that_was_handled_is_kept_no_longer(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, database: Database
) -> None:
    await publish(pool, relay, 3)
    await handle(client, 2)
    assert await look(kept, relay) == 0
    assert await count_of(database) == 1


async def test_an_event_is_kept_until_each_of_its_consumers_has_handled_it(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, database: Database
) -> None:
    await publish(pool, relay, 1, f"tenant.erased.{TENANT}")
    for consumer, left in ((topology.METRICS_ERASED, 1), (topology.ENRICHMENT_ERASED, 0)):
        subscription = await client.jetstream().pull_subscribe_bind(consumer.name, stream="ERASED")
        (message,) = await subscription.fetch(1)
        await message.ack_sync()
        await look(kept, relay)
        assert await count_of(database) == left


@pytest.mark.parametrize("pool", ["enrichment"], indirect=True)
async def test_an_event_that_no_consumer_of_ours_handles_is_not_kept(
    pool: Pool, client: Client, database: Database
) -> None:
    relay = Relay(pool, client, "enrichment_relay", topology.ENRICHMENT.consumed_by)
    await publish(pool, relay, 1, f"prospect.enrich.progressed.{TENANT}")
    assert await database.fetch("select from enrichment.published") == []


async def test_what_a_wiped_store_had_and_nobody_handled_is_told_again_in_order(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, broker: Broker
) -> None:
    ids = await publish(pool, relay, 5)
    await handle(client, 2)
    await look(kept, relay)
    broker.wipe()
    await declare(client)
    assert await look(kept, relay) == 3
    assert await handle(client) == ids[2:]


async def test_what_is_published_after_the_loss_and_before_a_look_is_told_once(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, broker: Broker
) -> None:
    lost = await publish(pool, relay, 2)
    broker.wipe()
    await declare(client)
    later = await publish(pool, relay, 5)
    assert await look(kept, relay) == 2
    assert await handle(client) == [*later, *lost]


async def test_what_a_store_lacks_that_was_put_back_to_an_older_state_is_told_again(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, broker: Broker
) -> None:
    ids = await publish(pool, relay, 4)
    await handle(client, 2)
    broker.save()
    await reached(client)
    ids += await publish(pool, relay, 4)
    broker.restore()
    await reached(client)
    await look(kept, relay)
    assert {*await handle(client)} >= {*ids[2:]}


async def test_a_loss_is_known_where_the_stream_has_grown_beyond_it_since(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, broker: Broker
) -> None:
    broker.save()
    await reached(client)
    lost = await publish(pool, relay, 3)
    broker.restore()
    await reached(client)
    later = await publish(pool, relay, 5)
    await look(kept, relay)
    assert await handle(client) == [*later, *lost]


async def test_a_loss_is_known_where_others_have_made_the_stream_grow_beyond_it(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, broker: Broker
) -> None:
    broker.save()
    await reached(client)
    lost = await publish(pool, relay, 3)
    broker.restore()
    await reached(client)
    for _ in range(5):  # as an operator who puts dead letters back
        event = OutgoingEvent(f"activity.recorded.{TENANT}", "test", b"letter", "tests")
        await messaging.publish(client, event)
    assert await look(kept, relay) == 3
    assert {*await handle(client)} >= {*lost}


async def test_what_a_deleted_stream_had_is_told_again_to_the_new_one(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client
) -> None:
    ids = await publish(pool, relay, 3)
    await client.jetstream().delete_stream("ACTIVITY")
    await kept.look(NOW)
    await declare(client)
    assert await relay.publish_pending() == 3
    assert await handle(client) == ids


async def test_a_consumer_that_was_deleted_gets_from_the_stream_what_it_had_not_handled(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, database: Database
) -> None:
    ids = await publish(pool, relay, 3)
    await client.jetstream().delete_consumer(CONSUMER.stream, CONSUMER.name)
    assert await look(kept, relay) == 0
    await declare(client)
    assert await handle(client) == ids
    await look(kept, relay)
    assert await count_of(database) == 0


async def test_what_the_broker_dropped_before_it_was_handled_is_told_again(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client
) -> None:
    ids = await publish(pool, relay, 4)
    jetstream = client.jetstream()
    config = (await jetstream.stream_info("ACTIVITY")).config
    await jetstream.update_stream(config, max_msgs=2)
    assert await look(kept, relay) == 2  # the broker knows their ids still
    await jetstream.update_stream(config, max_msgs=100)
    await look(kept, relay)
    assert {*await handle(client)} == {*ids}


async def test_what_a_purge_took_is_told_again_once(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, database: Database
) -> None:
    ids = await publish(pool, relay, 2)
    await client.jetstream().purge_stream("ACTIVITY")
    assert await look(kept, relay) == 2
    assert await handle(client) == ids
    await client.jetstream().purge_stream("ACTIVITY")
    assert await look(kept, relay) == 0
    assert await count_of(database) == 0


async def test_what_is_as_old_as_its_stream_keeps_events_has_expired(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, database: Database
) -> None:
    await publish(pool, relay, 2)
    await client.jetstream().purge_stream("ACTIVITY")
    await database.fetch("update activity.published set published_at = now() - interval '7 days'")
    assert await look(kept, relay) == 0
    assert await count_of(database) == 0


async def test_nothing_goes_back_to_the_outbox_while_events_that_wait_are_changed(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, broker: Broker,
    database: Database,
) -> None:  # fmt: skip
    await publish(pool, relay, 1)
    broker.wipe()
    await declare(client)
    async with holding(database, "select from activity.relay_lease for update"):
        await kept.look(NOW)
        assert await count_of(database) == 1
    assert await look(kept, relay) == 1


async def test_one_replica_looks_at_a_stream_at_a_time(
    pool: Pool, relay: Relay, kept: PublishedEvents, client: Client, database: Database
) -> None:
    await publish(pool, relay, 1)
    await look(kept, relay)
    await handle(client)
    await kept.look(timedelta(hours=1))
    assert await count_of(database) == 1
