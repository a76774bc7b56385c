"""A tail goes on when the broker loses its place, and says so when it has lost the events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from nats.aio.client import Client

from chassis.broker.streams import ensure
from services import topology
from tests.activity.log import record
from tests.activity.reading.test_tail import a_tail, an_entry, ids
from tests.harness import Identity, error_info

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub


async def consumers(nats: Client) -> list[str]:
    """Return the consumers of tails."""
    return [each.name for each in await nats.jetstream().consumers_info("ACTIVITY")]


async def test_a_tail_goes_on_when_its_consumer_is_deleted(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    call, _ = await a_tail(activity, ours)
    async with asyncio.timeout(30):
        while not await consumers(nats):
            await asyncio.sleep(0.01)
    for name in await consumers(nats):
        await nats.jetstream().delete_consumer("ACTIVITY", name)
    recorded = await record(activity, ours, [an_entry()])
    assert await ids(call, 1) == recorded
    call.cancel()


async def test_a_tail_of_events_that_the_broker_has_lost_says_so(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    call, _ = await a_tail(activity, ours)
    await record(activity, ours, [an_entry()])
    await ids(call, 1)
    await nats.jetstream().delete_stream("ACTIVITY")
    await ensure(nats, topology.STREAMS)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await ids(call, 1)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(ended.value).reason == "EVENTS_LOST"
