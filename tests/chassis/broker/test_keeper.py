"""What a service needs on the broker is there while it runs, whoever takes it away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.js.errors import NoStreamResponseError

from chassis.broker import keeper
from chassis.broker.client import BrokerClient, connect, open_client
from chassis.broker.keeper import StreamKeeper
from chassis.messaging import Consumer, Stream
from devstack import servers

OURS, THEIRS = Stream("SHOP", ("orders.*",)), Stream("STOCK", ("stock.*",))
CONSUMER = Consumer("billing", "STOCK", "stock.*")


def keeper_of(client: BrokerClient) -> StreamKeeper:
    return StreamKeeper(client, (OURS,), (CONSUMER,), (THEIRS,))


async def test_all_is_there_when_the_block_begins(nats: BrokerClient) -> None:
    async with keeper_of(nats).keeping(30, asyncio.Event()):
        assert await nats.jetstream().consumer_info("STOCK", "billing")
        assert await nats.jetstream().stream_info("SHOP")


async def test_a_stream_that_a_publisher_misses_is_made_again(
    nats: BrokerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "PAUSE_SECONDS", 0.01)
    kept = keeper_of(nats)
    jetstream = nats.jetstream()
    async with kept.keeping(30, asyncio.Event()):
        await asyncio.sleep(0.1)
        kept.renewed.clear()
        await jetstream.delete_stream("SHOP")
        async with asyncio.timeout(20):
            while True:
                try:
                    await jetstream.publish("orders.made", b"")
                    break
                except NoStreamResponseError:
                    await asyncio.sleep(0.05)
            await kept.renewed.wait()


async def test_the_block_begins_without_a_broker_and_all_is_made_when_one_comes(
    tmp_path: Path,
) -> None:
    port = servers.free_port()
    client = await open_client(f"nats://127.0.0.1:{port}", "test")
    kept = keeper_of(client)
    async with kept.keeping(0.1, asyncio.Event()):
        assert not kept.ready.is_set()
        with servers.nats_server(tmp_path / "late", port=port):
            await asyncio.wait_for(kept.ready.wait(), 30)
            await client.close()


async def test_a_stop_ends_the_wait_for_the_broker() -> None:
    client = await open_client(f"nats://127.0.0.1:{servers.free_port()}", "test")
    stopping = asyncio.Event()
    stopping.set()
    async with asyncio.timeout(30), keeper_of(client).keeping(3_600, stopping):
        await client.close()


async def test_a_broker_that_comes_back_empty_gets_all_again(tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.nats_server(tmp_path / "first", port=port) as first:
        client = await connect(first.url, "test")
        kept = keeper_of(client)
        async with kept.keeping(30, asyncio.Event()):
            first.process.kill()
            first.process.wait()
            kept.renewed.clear()
            with servers.nats_server(tmp_path / "empty", port=port):
                await asyncio.wait_for(kept.renewed.wait(), 30)
                assert await client.jetstream().consumer_info("STOCK", "billing")
                await client.close()
