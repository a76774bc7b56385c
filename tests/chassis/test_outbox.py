"""The outbox: what was committed is published with its id, whatever the broker does meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import PubAck

from chassis import messaging, outbox
from chassis.broker.streams import ensure
from chassis.database import Pool, tenant_transaction
from chassis.messaging import OutgoingEvent
from chassis.outbox import Relay
from services import topology
from tests.harness import Database

ROLE = "activity_relay"


async def enqueue(pool: Pool, *, commit: bool = True) -> OutgoingEvent:
    """Write an event beside a state change, which stands or is rolled back."""
    tenant_id = uuid.uuid4()
    event = OutgoingEvent(f"activity.recorded.{tenant_id}", "test", b"body", "tests")
    try:
        async with tenant_transaction(pool, tenant_id) as connection:
            await outbox.enqueue(connection, tenant_id, [event])
            if not commit:
                raise RuntimeError
    except RuntimeError:
        pass
    return event


async def published(nats: Client) -> int:
    """Return how many events stand in the stream."""
    return (await nats.jetstream().stream_info("ACTIVITY")).state.messages


async def test_an_event_is_published_with_its_cloudevents_headers(pool: Pool, nats: Client) -> None:
    event = await enqueue(pool)
    assert await Relay(pool, nats, ROLE).publish_pending() == 1
    message = await nats.jetstream().get_msg("ACTIVITY", seq=1)
    assert (message.subject, message.data) == (event.subject, b"body")
    assert message.headers
    expected = event.headers()
    assert {name: message.headers[name] for name in expected} == expected


async def test_an_event_of_a_transaction_that_was_rolled_back_is_never_published(
    pool: Pool, nats: Client
) -> None:
    await enqueue(pool, commit=False)
    assert await Relay(pool, nats, ROLE).publish_pending() == 0


async def test_events_leave_in_the_order_they_were_written(pool: Pool, nats: Client) -> None:
    events = [await enqueue(pool) for _ in range(5)]
    await Relay(pool, nats, ROLE).publish_pending()
    jetstream = nats.jetstream()
    sent = [(await jetstream.get_msg("ACTIVITY", seq=n)).subject for n in range(1, 6)]
    assert sent == [event.subject for event in events]


async def test_a_batch_of_large_events_ends_at_its_bytes(
    pool: Pool, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH_BYTES", 2 * len(b"body"))
    for _ in range(3):
        await enqueue(pool)
    relay = Relay(pool, nats, ROLE)
    assert await relay.publish_pending() == 2
    assert await relay.publish_pending() == 1


async def test_an_event_larger_than_a_batch_may_be_is_published_alone(
    pool: Pool, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH_BYTES", 1)
    for _ in range(2):
        await enqueue(pool)
    assert await Relay(pool, nats, ROLE).publish_pending() == 1


async def test_batches_that_end_at_their_bytes_follow_each_other(
    pool: Pool, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH_BYTES", 1)
    monkeypatch.setattr(outbox, "IDLE_SECONDS", 3_600)
    for _ in range(3):
        await enqueue(pool)
    stopping = asyncio.Event()
    running = asyncio.create_task(Relay(pool, nats, ROLE).run(stopping))
    async with asyncio.timeout(30):
        while await published(nats) < 3:
            await asyncio.sleep(0.01)
    stopping.set()
    await running


async def test_an_event_that_the_broker_did_not_take_stays_and_is_published_later(
    pool: Pool, nats: Client
) -> None:
    await enqueue(pool)
    relay = Relay(pool, nats, ROLE)
    await nats.jetstream().delete_stream("ACTIVITY")
    with pytest.raises(Exception, match="no response from stream"):
        await relay.publish_pending()
    await ensure(nats, topology.STREAMS)
    assert await relay.publish_pending() == 1
    assert await relay.publish_pending() == 0


async def test_an_event_published_twice_stands_once_in_the_stream(pool: Pool, nats: Client) -> None:
    event = await enqueue(pool)
    await messaging.publish(nats, event)  # as a relay that died before it deleted the row
    await Relay(pool, nats, ROLE).publish_pending()
    assert await published(nats) == 1


async def test_a_stop_ends_the_relays_pause_and_what_is_left_is_published(
    pool: Pool, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PAUSE_SECONDS", 3_600)
    stopping = asyncio.Event()
    await enqueue(pool)
    running = asyncio.create_task(Relay(pool, nats, ROLE).run(stopping))
    while await published(nats) < 1:
        await asyncio.sleep(0.01)
    await enqueue(pool)
    stopping.set()
    await asyncio.wait_for(running, 30)
    assert await published(nats) == 2


async def test_a_relay_that_falls_silent_holds_up_the_others_for_its_lease_only(
    pool: Pool, nats: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing, publish_all = asyncio.Event(), messaging.publish_all

    async def fall_silent(*_: object) -> None:
        publishing.set()
        await asyncio.Event().wait()

    await enqueue(pool)
    monkeypatch.setattr(messaging, "publish_all", fall_silent)
    silent = asyncio.create_task(Relay(pool, nats, ROLE).publish_pending())
    await publishing.wait()
    monkeypatch.setattr(messaging, "publish_all", publish_all)
    other = Relay(pool, nats, ROLE)
    assert await other.publish_pending() == 0
    await database.fetch("update activity.relay_lease set expires_at = now()")
    assert await other.publish_pending() == 1
    assert await published(nats) == 1
    silent.cancel()


async def test_no_connection_is_held_while_events_are_published(
    pool: Pool, nats: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[object] = []
    publish_all = messaging.publish_all

    async def look(*arguments: Any) -> Sequence[PubAck]:
        rows = await database.fetch(
            "select state from pg_stat_activity where usename = 'activity_app'"
            " and state like 'idle in transaction%'"
        )
        states.extend(rows)
        return await publish_all(*arguments)

    monkeypatch.setattr(messaging, "publish_all", look)
    await enqueue(pool)
    assert await Relay(pool, nats, ROLE).publish_pending() == 1
    assert states == []


async def test_events_that_wait_are_changed_while_no_relay_has_them_in_hand(
    pool: Pool, nats: Client, database: Database
) -> None:
    await enqueue(pool)
    relay, held = Relay(pool, nats, ROLE), asyncio.Event()

    async def change() -> None:
        async with tenant_transaction(pool, uuid.uuid4()) as connection:
            await outbox.hold(connection)
            held.set()
            assert await relay.publish_pending() == 0

    await database.fetch("update activity.relay_lease set expires_at = now() + interval '1 hour'")
    changing = asyncio.create_task(change())
    await asyncio.sleep(0.1)
    assert not held.is_set()
    await database.fetch("update activity.relay_lease set expires_at = '-infinity'")
    await changing
    assert await relay.publish_pending() == 1
