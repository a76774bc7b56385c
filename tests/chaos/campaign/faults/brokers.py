"""Brokers die, stand still or lose their disks; streams and consumers vanish or are full."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import nats
import nats.errors
import nats.js.errors
from nats.js.api import DiscardPolicy
from nats.js.manager import JetStreamManager

from services import topology
from tests.chaos.campaign.cluster import Broker, Cluster
from tests.chaos.campaign.faults.table import fault

CONSUMERS = [each for part in topology.SERVICES.values() for each in part.consumers]


@fault((1, 8))
async def a_broker_is_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _away([dice.choice(cluster.brokers)]):
        yield


@fault((2, 12))
async def a_broker_is_frozen(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    broker = dice.choice(cluster.brokers)
    assert broker.process
    broker.process.send_signal(signal.SIGSTOP)
    yield
    broker.process.send_signal(signal.SIGCONT)


@fault((0, 4))
async def all_brokers_are_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _away(cluster.brokers):
        yield


@fault((0, 3))
async def a_broker_loses_its_disk(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    broker = dice.choice(cluster.brokers)
    async with _away([broker]):
        broker.wipe()
        yield


@fault((0, 3))
async def all_brokers_lose_their_disks(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    async with _away(cluster.brokers):
        for broker in cluster.brokers:
            broker.wipe()
        yield


@fault()
async def a_stream_is_deleted(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    stream = dice.choice(topology.STREAMS)
    await _ask_broker(cluster, lambda manager: manager.delete_stream(stream.name))
    yield


@fault()
async def a_consumer_is_deleted(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    each = dice.choice(CONSUMERS)
    await _ask_broker(cluster, lambda manager: manager.delete_consumer(each.stream, each.name))
    yield


@fault((2, 6))
async def a_stream_is_full(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    stream = dice.choice(topology.STREAMS).name
    await _ask_broker(cluster, lambda manager: _limit(manager, stream, 1))
    yield
    await _ask_broker(cluster, lambda manager: _limit(manager, stream, -1))


async def _limit(manager: JetStreamManager, stream: str, max_bytes: int) -> None:
    """Have a stream refuse what is more than so many bytes, as a broker with a full disk does."""
    config = (await manager.stream_info(stream)).config
    config.discard, config.max_bytes = DiscardPolicy.NEW, max_bytes
    await manager.update_stream(config)


@asynccontextmanager
async def _away(brokers: Sequence[Broker]) -> AsyncIterator[None]:
    for broker in brokers:
        await asyncio.to_thread(broker.stop)
    yield
    for broker in brokers:
        await asyncio.to_thread(broker.start)


async def _ask_broker(
    cluster: Cluster, ask: Callable[[JetStreamManager], Awaitable[object]]
) -> None:
    """Ask whichever broker answers; one that cannot do it now spares us the fault."""
    with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError):
        client = await nats.connect(cluster.stack.nats_url.split(","), max_reconnect_attempts=1)
        try:
            await ask(client.jsm())
        finally:
            await client.close()
