"""Pulling events: all come once, a lost request is made again, a missing consumer is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js.errors import APIError

from chassis.broker.client import BrokerClient, connect
from chassis.broker.pull import Pull
from chassis.broker.streams import ensure
from chassis.messaging import Consumer, Stream
from devstack import servers

STREAM = Stream("SHOP", ("orders.*",))
CONSUMER = Consumer("billing", "SHOP", "orders.*")
LONG = 60.0


@pytest.fixture
async def pull(nats: BrokerClient) -> AsyncIterator[Pull]:
    await ensure(nats, (STREAM,), (CONSUMER,))
    async with Pull(nats, "SHOP", "billing").open() as pull:
        yield pull


async def publish(nats: BrokerClient, *bodies: bytes) -> None:
    for body in bodies:
        await nats.jetstream().publish("orders.made", body)


async def take(pull: Pull, count: int, *, at_once: int = 10) -> list[bytes]:
    """Fetch until so many have come."""
    taken: list[bytes] = []
    async with asyncio.timeout(30):
        while len(taken) < count:
            messages = await pull.fetch(at_once, LONG)
            assert len(messages) <= at_once
            taken += [each.data for each in messages]
            for each in messages:
                await each.ack()
    return taken


async def test_events_that_are_there_come_in_order(nats: BrokerClient, pull: Pull) -> None:
    bodies = [b"%d" % number for number in range(25)]
    await publish(nats, *bodies)
    assert await take(pull, 25) == bodies


async def test_an_event_ends_the_wait_for_it(nats: BrokerClient, pull: Pull) -> None:
    waiting = asyncio.create_task(take(pull, 1))
    await asyncio.sleep(0.1)
    await publish(nats, b"1")
    assert await waiting == [b"1"]
    await publish(nats, b"2")  # by the same request, of which nine are left
    assert await take(pull, 1) == [b"2"]


async def test_nothing_comes_where_nothing_is(pull: Pull) -> None:
    for _ in range(2):
        assert await pull.fetch(10, 0.1) == []


async def test_an_event_with_the_header_of_a_status_is_an_event(
    nats: BrokerClient, pull: Pull
) -> None:
    await nats.jetstream().publish("orders.made", b"", headers={"Status": "503"})
    assert await take(pull, 1) == [b""]


async def test_a_consumer_that_is_deleted_ends_the_wait_and_is_missed(
    nats: BrokerClient, pull: Pull
) -> None:
    waiting = asyncio.create_task(pull.fetch(10, LONG))
    await asyncio.sleep(0.1)
    nats.in_doubt.clear()
    await nats.jetstream().delete_consumer("SHOP", "billing")
    with pytest.raises(APIError, match="Consumer Deleted"):
        await asyncio.wait_for(waiting, 30)
    assert nats.in_doubt.is_set()
    with pytest.raises(APIError, match="503"):
        await asyncio.wait_for(pull.fetch(10, LONG), 30)


async def test_what_came_and_was_not_fetched_comes_again_at_once(
    nats: BrokerClient, pull: Pull
) -> None:
    assert await pull.fetch(10, 0.1) == []
    await asyncio.gather(pull._ask(10, LONG), publish(nats, b"1"))
    while pull._came.empty():
        await asyncio.sleep(0.01)
    await pull.hand_back()
    assert await take(pull, 1) == [b"1"]


async def test_a_request_that_went_with_its_connection_is_made_again(tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.nats_server(tmp_path / "nats", port=port) as server:
        client = await connect(server.url, "test")
        await ensure(client, (STREAM,), (CONSUMER,))
        async with Pull(client, "SHOP", "billing").open() as pull:
            waiting = asyncio.create_task(take(pull, 1))
            await asyncio.sleep(0.1)
            server.process.kill()
            server.process.wait()
            with servers.nats_server(tmp_path / "nats", port=port):
                async with asyncio.timeout(30):
                    while client.stats["reconnects"] < 2 or not client.is_connected:
                        await asyncio.sleep(0.02)
                await publish(client, b"1")
                assert await waiting == [b"1"]
                await client.close()
