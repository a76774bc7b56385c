"""Events on the wire, and streams and consumers on the broker: as they are declared."""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, RetentionPolicy, StorageType
from nats.js.errors import ServiceUnavailableError
from prospect.enrichment.v1 import events_pb2

from chassis import messaging
from chassis.messaging import Consumer, OutgoingEvent, Stream, event_id_of

EVENT = OutgoingEvent(
    "orders.made", "shop.OrderMade", b"body", "prospect/shop", uuid.UUID(int=7),
    datetime(2026, 11, 24, 12, tzinfo=UTC), "",
)  # fmt: skip
STREAM = Stream("SHOP", ("orders.>",), max_age_seconds=3_600, duplicate_window_seconds=60)
CONSUMER = Consumer("billing", "SHOP", "orders.made", ack_wait_seconds=7, in_hand=3)


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


async def test_a_stream_is_made_as_declared(nats: Client) -> None:
    await messaging.ensure(nats, (STREAM,))
    config = (await nats.jetstream().stream_info("SHOP")).config
    assert (config.subjects, config.max_age) == (["orders.>"], 3_600)
    assert (config.duplicate_window, config.storage) == (60, StorageType.FILE)
    assert config.retention is not None
    assert RetentionPolicy(config.retention) is RetentionPolicy.LIMITS


async def test_a_work_queue_keeps_what_is_not_acknowledged(nats: Client) -> None:
    await messaging.ensure(nats, (replace(STREAM, work_queue=True),))
    config = (await nats.jetstream().stream_info("SHOP")).config
    assert config.retention is not None
    assert RetentionPolicy(config.retention) is RetentionPolicy.WORK_QUEUE


async def test_a_stream_that_is_there_becomes_as_declared(nats: Client) -> None:
    await messaging.ensure(nats, (STREAM,))
    await messaging.ensure(nats, (replace(STREAM, max_age_seconds=7_200),))
    assert (await nats.jetstream().stream_info("SHOP")).config.max_age == 7_200


async def test_a_consumer_is_made_as_declared_and_never_given_up_by_the_broker(
    nats: Client,
) -> None:
    await messaging.ensure(nats, (STREAM,), (CONSUMER,))
    config = (await nats.jetstream().consumer_info("SHOP", "billing")).config
    assert (config.durable_name, config.filter_subject) == ("billing", "orders.made")
    assert (config.ack_wait, config.max_ack_pending, config.max_deliver) == (7, 48, -1)
    assert config.ack_policy is not None
    assert AckPolicy(config.ack_policy) is AckPolicy.EXPLICIT


async def test_events_are_published_in_order_with_their_headers(nats: Client) -> None:
    await messaging.ensure(nats, (STREAM,))
    events = [replace(EVENT, event_id=uuid.UUID(int=n), body=b"%d" % n) for n in range(20)]
    await messaging.publish_all(nats.jetstream(), events)
    await messaging.publish(nats, replace(EVENT, event_id=uuid.UUID(int=20), body=b"20"))
    for place in range(21):
        stored = await nats.jetstream().get_msg("SHOP", place + 1)
        assert stored.data == b"%d" % place
        assert stored.headers is not None
        assert stored.headers["ce-id"] == str(uuid.UUID(int=place))


async def test_an_event_that_is_published_twice_is_stored_once(nats: Client) -> None:
    await messaging.ensure(nats, (STREAM,))
    for _ in range(2):
        await messaging.publish(nats, EVENT)
    assert (await nats.jetstream().stream_info("SHOP")).state.messages == 1


async def test_what_an_operator_has_set_outlives_the_start_of_a_service(nats: Client) -> None:
    jetstream = nats.jetstream()
    await messaging.ensure(nats, (STREAM,), (CONSUMER,))
    stream = (await jetstream.stream_info("SHOP")).config
    stream.max_bytes, stream.description, stream.max_age = 2**30, "owned by ops", 86_400
    stream.duplicate_window, stream.metadata = 900, {"team": "ops"}
    stream.subjects = ["orders.>", "more.>"]
    await jetstream.update_stream(stream)
    consumer = (await jetstream.consumer_info("SHOP", "billing")).config
    consumer.description, consumer.ack_wait, consumer.max_ack_pending = "ops", 120, 77
    await jetstream.add_consumer("SHOP", consumer)
    before = await told_of(nats)
    await messaging.ensure(nats, (STREAM,), (CONSUMER,))
    assert await told_of(nats) == before
    assert before[0]["max_bytes"] == 2**30
    assert before[1]["max_ack_pending"] == 77


async def told_of(nats: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the stream's and the consumer's configuration as the broker tells it."""
    return (
        (await messaging._ask(nats, "STREAM.INFO.SHOP", {}))["config"],
        (await messaging._ask(nats, "CONSUMER.INFO.SHOP.billing", {}))["config"],
    )


async def test_what_is_declared_anew_changes_that_alone(nats: Client) -> None:
    await messaging.ensure(nats, (STREAM,), (CONSUMER,))
    stream = (await nats.jetstream().stream_info("SHOP")).config
    stream.description, stream.duplicate_window = "owned by ops", 900
    stream.subjects = ["orders.>", "more.>"]
    await nats.jetstream().update_stream(stream)
    newer = replace(
        STREAM, subjects=("sales.>",), max_age_seconds=7_200, max_bytes=10_000, max_msg_size=500
    )
    await messaging.ensure(nats, (newer,), (replace(CONSUMER, ack_wait_seconds=9),))
    config, consumer = await told_of(nats)
    assert config["subjects"] == ["more.>", "sales.>"]
    assert (config["description"], config["duplicate_window"]) == ("owned by ops", 900 * 10**9)
    assert (config["max_age"], config["max_bytes"], config["max_msg_size"]) == (
        7_200 * 10**9, 10_000, 500,
    )  # fmt: skip
    assert consumer["ack_wait"] == 9 * 10**9


async def test_a_stream_of_an_earlier_version_gets_the_subjects_that_it_lacks(
    nats: Client,
) -> None:
    await nats.jetstream().add_stream(name="SHOP", subjects=["orders.>"], max_age=60)
    await messaging.ensure(nats, (replace(STREAM, subjects=("orders.>", "returns.*")),))
    config = (await nats.jetstream().stream_info("SHOP")).config
    assert (config.subjects, config.max_age) == (["orders.>", "returns.*"], 60)


async def test_a_stream_that_is_another_services_is_made_and_never_changed(nats: Client) -> None:
    await messaging.ensure(nats, (), (), (STREAM,))
    await messaging.ensure(nats, (), (), (replace(STREAM, max_age_seconds=7_200),))
    assert (await nats.jetstream().stream_info("SHOP")).config.max_age == 3_600


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_full_stream_refuses_events_or_drops_its_oldest(
    nats: Client, refuses: bool
) -> None:
    full = replace(STREAM, max_bytes=4_000, refuses_when_full=refuses)
    await messaging.ensure(nats, (full,))
    events = [replace(EVENT, event_id=uuid.UUID(int=n), body=bytes(500)) for n in range(9)]
    stored = 0
    for event in events:
        try:
            await messaging.publish(nats, event)
        except ServiceUnavailableError:
            break
        stored += 1
    state = (await nats.jetstream().stream_info("SHOP")).state
    assert (stored < len(events), state.first_seq == 1) == (refuses, refuses)
    assert 0 < state.messages < len(events)


def test_of_asyncios_lines_the_one_at_the_end_of_each_tls_connection_is_left_out() -> None:
    ended = "returning true from eof_received() has no effect when using ssl"
    records = [logging.makeLogRecord({"msg": line}) for line in (ended, "other")]
    assert [messaging._is_of_use(each) for each in records] == [False, True]
