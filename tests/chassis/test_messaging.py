"""Events on the wire: their headers, their ids, and that all are on the broker's disk."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import prometheus_client
import pytest
from nats.aio.client import Client
from nats.js.errors import APIError
from prospect.enrichment.v1 import events_pb2
from structlog.testing import capture_logs

from chassis import messaging
from chassis.broker.client import connect
from chassis.broker.streams import ensure
from chassis.messaging import OutgoingEvent, Stream, event_id_of
from devstack import servers

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


async def test_a_broker_without_room_says_so_and_takes_events_when_it_has_room(
    tmp_path: Path,
) -> None:
    small = f'jetstream {{ store_dir: "{tmp_path}", max_file: 20KB }}\n'
    with servers.nats_server(tmp_path / "nats", users=small) as server:
        client = await connect(server.url, "test")
        await ensure(client, (STREAM,))
        events = [replace(EVENT, event_id=uuid.UUID(int=n), body=bytes(4_000)) for n in range(9)]
        with capture_logs() as logs, pytest.raises(APIError) as refusal:
            await messaging.publish_all(client.jetstream(), events)
        assert "broker refused" in [each["event"] for each in logs]
        told = prometheus_client.generate_latest().decode()
        assert f'prospect_broker_refusals_total{{code="{refusal.value.err_code}"}}' in told
        await client.jetstream().purge_stream("SHOP")
        await messaging.publish_all(client.jetstream(), events[:1])
        await client.close()
