"""Events on the wire: their headers, their ids, and that all are on the broker's disk."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import events_pb2

from chassis import messaging
from chassis.broker.streams import ensure
from chassis.messaging import OutgoingEvent, Stream, event_id_of

EVENT = OutgoingEvent(
    "orders.made", "shop.OrderMade", b"body", "prospect/shop", uuid.UUID(int=7),
    datetime(2026, 11, 24, 12, tzinfo=UTC), "",
)  # fmt: skip
STREAM = Stream("SHOP", ("orders.>",), max_age_seconds=3_600, duplicate_window_seconds=60)


def test_an_event_has_the_headers_of_cloudevents_and_the_brokers_id() -> None:
    assert EVENT.headers() == {
        "Nats-Msg-Id": str(EVENT.event_id),
        "ce-specversion": "1.0",
        "ce-id": str(EVENT.event_id),
        "ce-type": "shop.OrderMade",
        "ce-source": "prospect/shop",
        "ce-subject": "orders.made",
        "ce-time": "2026-11-24T12:00:00+00:00",
        "content-type": "application/protobuf",
    }


def test_an_event_of_a_trace_names_it() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = replace(EVENT, traceparent=trace).headers()
    assert traced == EVENT.headers() | {"traceparent": trace}


def test_a_message_is_wrapped_with_its_full_name() -> None:
    message = events_pb2.EnrichmentRequested(name="Ada")
    event = OutgoingEvent.of("a.b", message, "prospect/x")
    assert (event.subject, event.source) == ("a.b", "prospect/x")
    assert event.event_type == "prospect.enrichment.v1.EnrichmentRequested"
    assert events_pb2.EnrichmentRequested.FromString(event.body) == message
    assert event.event_id.version == 7


ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("headers", "event_id"),
    [
        ({"ce-id": str(ID), "nats-msg-id": "other"}, ID),
        ({"nats-msg-id": str(ID)}, ID),
        ({"ce-id": "order 7"}, uuid.uuid5(uuid.NAMESPACE_OID, "order 7")),
        ({}, uuid.uuid5(uuid.NAMESPACE_OID, "SHOP/5")),
    ],
)
def test_an_event_is_known_by_its_id_or_by_its_number_in_the_stream(
    headers: dict[str, str], event_id: uuid.UUID
) -> None:
    assert event_id_of(headers, "SHOP", 5) == event_id


async def test_events_are_published_in_order_with_their_headers(nats: Client) -> None:
    await ensure(nats, (STREAM,))
    events = [replace(EVENT, event_id=uuid.UUID(int=n), body=b"%d" % n) for n in range(20)]
    await messaging.publish_all(nats.jetstream(), events)
    await messaging.publish(nats, replace(EVENT, event_id=uuid.UUID(int=20), body=b"20"))
    for place in range(21):
        stored = await nats.jetstream().get_msg("SHOP", place + 1)
        assert stored.data == b"%d" % place
        assert stored.headers is not None
        assert stored.headers["ce-id"] == str(uuid.UUID(int=place))


async def test_an_event_that_is_published_twice_is_stored_once(nats: Client) -> None:
    await ensure(nats, (STREAM,))
    for _ in range(2):
        await messaging.publish(nats, EVENT)
    assert (await nats.jetstream().stream_info("SHOP")).state.messages == 1
