"""Streams and consumers on the broker: made as declared, and then the operator's."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, RetentionPolicy, StorageType
from nats.js.errors import ServiceUnavailableError

from chassis import messaging
from chassis.broker import streams
from chassis.broker.client import connect
from chassis.broker.streams import ensure, with_limits
from chassis.messaging import Consumer, OutgoingEvent, Stream
from chassis.settings import StreamSettings
from tests.broker_faults import addresses, cluster, meets

EVENT = OutgoingEvent("orders.made", "shop.OrderMade", b"body", "prospect/shop")
STREAM = Stream("SHOP", ("orders.>",), max_age_seconds=3_600, duplicate_window_seconds=60)
CONSUMER = Consumer("billing", "SHOP", "orders.made", ack_wait_seconds=7, in_hand=3)


async def test_a_stream_is_made_as_declared(nats: Client) -> None:
    await ensure(nats, (STREAM,))
    config = (await nats.jetstream().stream_info("SHOP")).config
    assert (config.subjects, config.max_age) == (["orders.>"], 3_600)
    assert (config.duplicate_window, config.storage) == (60, StorageType.FILE)
    assert config.retention is not None
    assert RetentionPolicy(config.retention) is RetentionPolicy.LIMITS


async def test_a_work_queue_keeps_what_is_not_acknowledged(nats: Client) -> None:
    await ensure(nats, (replace(STREAM, work_queue=True),))
    config = (await nats.jetstream().stream_info("SHOP")).config
    assert config.retention is not None
    assert RetentionPolicy(config.retention) is RetentionPolicy.WORK_QUEUE


async def test_a_stream_that_is_there_becomes_as_declared(nats: Client) -> None:
    await ensure(nats, (STREAM,))
    await ensure(nats, (replace(STREAM, max_age_seconds=7_200),))
    assert (await nats.jetstream().stream_info("SHOP")).config.max_age == 7_200


async def test_a_consumer_is_made_as_declared_and_never_given_up_by_the_broker(
    nats: Client,
) -> None:
    await ensure(nats, (STREAM,), (CONSUMER,))
    config = (await nats.jetstream().consumer_info("SHOP", "billing")).config
    assert (config.durable_name, config.filter_subject) == ("billing", "orders.made")
    assert (config.ack_wait, config.max_ack_pending, config.max_deliver) == (7, 48, -1)
    assert config.ack_policy is not None
    assert AckPolicy(config.ack_policy) is AckPolicy.EXPLICIT


async def test_what_an_operator_has_set_outlives_the_start_of_a_service(nats: Client) -> None:
    jetstream = nats.jetstream()
    await ensure(nats, (STREAM,), (CONSUMER,))
    stream = (await jetstream.stream_info("SHOP")).config
    stream.max_bytes, stream.description, stream.max_age = 2**30, "owned by ops", 86_400
    stream.duplicate_window, stream.metadata = 900, {"team": "ops"}
    stream.subjects = ["orders.>", "more.>"]
    await jetstream.update_stream(stream)
    consumer = (await jetstream.consumer_info("SHOP", "billing")).config
    consumer.description, consumer.ack_wait, consumer.max_ack_pending = "ops", 120, 77
    await jetstream.add_consumer("SHOP", consumer)
    before = await told_of(nats)
    await ensure(nats, (STREAM,), (CONSUMER,))
    assert await told_of(nats) == before
    assert before[0]["max_bytes"] == 2**30
    assert before[1]["max_ack_pending"] == 77


async def told_of(nats: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the stream's and the consumer's configuration as the broker tells it."""
    return (
        (await streams._ask(nats, "STREAM.INFO.SHOP", {}))["config"],
        (await streams._ask(nats, "CONSUMER.INFO.SHOP.billing", {}))["config"],
    )


async def test_what_is_declared_anew_changes_that_alone(nats: Client) -> None:
    await ensure(nats, (STREAM,), (CONSUMER,))
    stream = (await nats.jetstream().stream_info("SHOP")).config
    stream.description, stream.duplicate_window = "owned by ops", 900
    stream.subjects = ["orders.>", "more.>"]
    await nats.jetstream().update_stream(stream)
    newer = replace(
        STREAM, subjects=("sales.>",), max_age_seconds=7_200, max_bytes=10_000, max_msg_size=500
    )
    await ensure(nats, (newer,), (replace(CONSUMER, ack_wait_seconds=9),))
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
    await ensure(nats, (replace(STREAM, subjects=("orders.>", "returns.*")),))
    config = (await nats.jetstream().stream_info("SHOP")).config
    assert (config.subjects, config.max_age) == (["orders.>", "returns.*"], 60)


async def test_a_stream_that_is_another_services_is_made_and_never_changed(nats: Client) -> None:
    await ensure(nats, (), (), (STREAM,))
    await ensure(nats, (), (), (replace(STREAM, max_age_seconds=7_200),))
    assert (await nats.jetstream().stream_info("SHOP")).config.max_age == 3_600


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_full_stream_refuses_events_or_drops_its_oldest(
    nats: Client, refuses: bool
) -> None:
    full = replace(STREAM, max_bytes=4_000, refuses_when_full=refuses)
    await ensure(nats, (full,))
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


async def test_what_an_operator_has_set_otherwise_is_told(nats: Client) -> None:
    assert await ensure(nats, (STREAM,), (CONSUMER,)) == []
    config = (await nats.jetstream().stream_info("SHOP")).config
    config.max_age = 600
    await nats.jetstream().update_stream(config)
    (told,) = await ensure(nats, (STREAM,), (CONSUMER,))
    assert (told.name, told.setting, told.found) == ("SHOP", "max_age", 600 * 10**9)


async def test_streams_have_the_replicas_of_the_setting_and_keep_what_an_operator_set(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path) as nodes:
        await meets(nodes)
        client = await connect(addresses(nodes), "test")

        async def replicas(*streams: Stream) -> int | None:
            await ensure(client, streams)
            return (await client.jetstream().stream_info("SHOP")).config.num_replicas

        assert await replicas(STREAM) == 1
        config = (await client.jetstream().stream_info("SHOP")).config
        config.num_replicas = 3
        await client.jetstream().update_stream(config)
        assert await replicas(STREAM) == 3
        await client.jetstream().delete_stream("SHOP")
        assert await replicas(replace(STREAM, replicas=3)) == 3
        await client.close()


def test_the_settings_of_streams_are_those_of_each_stream() -> None:
    limits = StreamSettings(
        nats_stream_max_mb=1, nats_max_event_kb=2, nats_stream_replicas=3, nats_stream_tags="a, b"
    )
    limited = with_limits(STREAM, limits)
    assert (limited.max_bytes, limited.max_msg_size) == (1024**2, 2_048)
    assert (limited.replicas, limited.tags) == (3, ("a", "b"))
    assert streams._stream_config(limited)["placement"] == {"tags": ["a", "b"]}
    assert with_limits(replace(STREAM, refuses_when_full=False), limits).max_msg_size == 0
