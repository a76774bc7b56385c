"""Consuming: a bad event is a dead letter with its reason, a good one has its effect once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from google.protobuf import json_format
from nats.aio.msg import Msg
from prospect.enrichment.v1 import events_pb2

from chassis import messaging
from chassis.broker.client import BrokerClient
from chassis.broker.streams import ensure
from chassis.consumer import Handler, IncomingEvent, consume
from chassis.messaging import OutgoingEvent
from services import topology

CONSUMER = topology.ENRICH_REQUESTED
SLOW = "Takes Long"


def a_request(**fields: str) -> events_pb2.EnrichmentRequested:
    """Return a valid request, changed by `fields`."""
    ids = {name: str(uuid.uuid4()) for name in ("prospect_id", "tenant_id", "user_id")}
    values = ids | {"name": "Ada Lovelace", "company": "Analytical Engines"} | fields
    return events_pb2.EnrichmentRequested(**values)  # type: ignore[arg-type]


class Seen:
    """Collects events and fails as often as it is told to."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[IncomingEvent[events_pb2.EnrichmentRequested]] = asyncio.Queue()
        self.failures = 0
        self.waiting, self.go_on = asyncio.Event(), asyncio.Event()

    async def handle(self, event: IncomingEvent[events_pb2.EnrichmentRequested]) -> None:
        if event.message.name == SLOW:
            self.waiting.set()
            await self.go_on.wait()
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a bug")
        await self.events.put(event)


@pytest.fixture
async def seen(nats: BrokerClient) -> AsyncIterator[Seen]:
    await ensure(nats, (), (CONSUMER,))
    seen, stopping = Seen(), asyncio.Event()
    handler = Handler(CONSUMER, events_pb2.EnrichmentRequested, seen.handle)
    consuming = asyncio.create_task(consume(nats, handler, stopping))
    yield seen
    stopping.set()
    await consuming


@pytest.fixture
async def dead(nats: BrokerClient) -> asyncio.Queue[Msg]:
    letters: asyncio.Queue[Msg] = asyncio.Queue()
    await nats.subscribe("dead.>", cb=letters.put)
    return letters


async def publish_bytes(
    nats: BrokerClient, body: bytes, headers: dict[str, str] | None = None
) -> None:
    """Publish as a back end with a plain client does."""
    await nats.jetstream().publish(CONSUMER.subject, body, headers=headers)


async def get(queue: asyncio.Queue[Msg]) -> Msg:
    """Return the next message."""
    return await asyncio.wait_for(queue.get(), 30)


async def test_a_good_event_is_handled(nats: BrokerClient, seen: Seen) -> None:
    message = a_request()
    await messaging.publish(nats, OutgoingEvent.of(CONSUMER.subject, message, "test"))
    event = await asyncio.wait_for(seen.events.get(), 30)
    assert event.message == message


async def test_an_event_may_come_as_json(nats: BrokerClient, seen: Seen) -> None:
    message = a_request()
    body = json_format.MessageToJson(message).encode()
    await publish_bytes(nats, body, {"content-type": "application/json"})
    event = await asyncio.wait_for(seen.events.get(), 30)
    assert event.message == message


async def test_bytes_that_are_no_message_are_a_dead_letter_with_the_reason(
    nats: BrokerClient, seen: Seen, dead: asyncio.Queue[Msg]
) -> None:
    await publish_bytes(nats, b"\xff\xffnonsense")
    letter = await get(dead)
    assert letter.headers is not None
    assert letter.subject == f"dead.{CONSUMER.subject}"
    assert "EnrichmentRequested" in letter.headers["Prospect-Dead-Reason"]


async def test_an_event_that_breaks_a_rule_is_a_dead_letter_that_names_the_field(
    nats: BrokerClient, seen: Seen, dead: asyncio.Queue[Msg]
) -> None:
    await publish_bytes(nats, a_request(tenant_id="not-a-uuid").SerializeToString())
    letter = await get(dead)
    assert letter.headers is not None
    assert letter.headers["Prospect-Dead-Reason"] == "tenant_id: must be a valid UUID"


async def test_a_dead_letter_carries_the_body_as_it_came(
    nats: BrokerClient, seen: Seen, dead: asyncio.Queue[Msg]
) -> None:
    body = a_request(name="").SerializeToString()
    await publish_bytes(nats, body)
    assert (await get(dead)).data == body


async def test_an_event_that_takes_long_holds_up_none_that_comes_later(
    nats: BrokerClient, seen: Seen
) -> None:
    await publish_bytes(nats, a_request(name=SLOW).SerializeToString())
    await asyncio.wait_for(seen.waiting.wait(), 30)
    later = a_request()
    await publish_bytes(nats, later.SerializeToString())
    event = await asyncio.wait_for(seen.events.get(), 30)
    seen.go_on.set()
    assert event.message == later
    assert (await asyncio.wait_for(seen.events.get(), 30)).message.name == SLOW


async def test_more_events_than_are_handled_at_once_are_all_handled(nats: BrokerClient) -> None:
    await ensure(nats, (), (CONSUMER,))
    handled, stopping = asyncio.Queue[str](), asyncio.Event()

    async def handle(event: IncomingEvent[events_pb2.EnrichmentRequested]) -> None:
        await asyncio.sleep(0.001 * (handled.qsize() % 7))
        await handled.put(event.message.prospect_id)

    for _ in range(600):
        await publish_bytes(nats, a_request().SerializeToString())
    handler = Handler(CONSUMER, events_pb2.EnrichmentRequested, handle)
    consuming = asyncio.create_task(consume(nats, handler, stopping))
    assert len({await asyncio.wait_for(handled.get(), 30) for _ in range(600)}) == 600
    stopping.set()
    await consuming


async def test_consuming_goes_on_when_the_consumer_was_deleted_and_is_made_again(
    nats: BrokerClient, seen: Seen
) -> None:
    await nats.jetstream().delete_consumer(CONSUMER.stream, CONSUMER.name)
    nats.in_doubt.clear()
    await publish_bytes(nats, a_request().SerializeToString())
    await asyncio.wait_for(nats.in_doubt.wait(), 30)
    await ensure(nats, (), (CONSUMER,))
    await asyncio.wait_for(seen.events.get(), 30)


async def test_a_bad_event_does_not_hold_up_the_good_one_behind_it(
    nats: BrokerClient, seen: Seen
) -> None:
    await publish_bytes(nats, b"\xff")
    await publish_bytes(nats, a_request().SerializeToString())
    await asyncio.wait_for(seen.events.get(), 30)


async def test_an_event_that_failed_comes_again(nats: BrokerClient, seen: Seen) -> None:
    seen.failures = 2
    await publish_bytes(nats, a_request().SerializeToString())
    await asyncio.wait_for(seen.events.get(), 30)


async def test_an_event_without_an_id_keeps_the_same_one_when_it_comes_again(
    nats: BrokerClient, seen: Seen
) -> None:
    await publish_bytes(nats, a_request().SerializeToString())
    first = await asyncio.wait_for(seen.events.get(), 30)
    again = messaging.event_id_of({}, CONSUMER.stream, 1)
    assert first.event_id == again
