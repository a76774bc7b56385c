"""A stop under load: no call fails for it that another replica or this one can serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.admission.drain import OpenCalls
from services.cli.operate.services import ServiceName
from tests.chassis.test_server import locked_log, record, wait_until_a_call_waits
from tests.chassis.test_service import NAME, NOT_SERVING, wait_for_status
from tests.harness import Database, Identity, Services, error_info

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

CALLERS = 8
ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


@pytest.fixture(autouse=True)
def clients_leave_at_once() -> None:
    """Give clients their time to learn of a stop, as everywhere but in other tests."""


@asynccontextmanager
async def stoppable(services: Services, **settings: Any) -> AsyncIterator[asyncio.Event]:
    """Run the service until the event is set, and wait for its end behind the block."""
    ready, stop = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with services.running(ServiceName.ACTIVITY, **settings):
            ready.set()
            await stop.wait()

    serving = asyncio.create_task(serve())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(serving, 50)


def channel_to(services: Services) -> grpc.aio.Channel:
    """Open a channel with a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(services.addresses[ServiceName.ACTIVITY], options=own)


async def test_no_call_fails_when_one_of_two_replicas_stops(
    services: Services, ours: Identity
) -> None:
    async def call_on(stub: ActivityServiceAsyncStub) -> None:
        while not stopped.is_set():
            await stub.ListActivities(pb.ListActivitiesRequest(), metadata=ours.metadata())

    stopped = asyncio.Event()
    async with AsyncExitStack() as stays, AsyncExitStack() as goes:
        addresses = []
        for stack in (stays, goes):
            await stack.enter_async_context(stoppable(services, drain_seconds=30))
            addresses.append(services.addresses[ServiceName.ACTIVITY])
        options = [("grpc.service_config", ROUND_ROBIN)]
        target = f"ipv4:{','.join(addresses)}"
        channel = await stays.enter_async_context(grpc.aio.insecure_channel(target, options))
        stub = grpc_api.ActivityServiceStub(channel)
        calling = [asyncio.create_task(call_on(stub)) for _ in range(CALLERS)]
        await asyncio.sleep(0.5)  # both are called
        await goes.aclose()
        stopped.set()
        await asyncio.gather(*calling)


async def test_a_stream_that_waits_for_its_client_does_not_hold_up_a_stop(
    services: Services, ours: Identity
) -> None:
    async with stoppable(services, drain_seconds=600) as stop, channel_to(services) as channel:
        stub = grpc_api.ActivityServiceStub(channel)
        stream = stub.StreamActivities(metadata=ours.metadata())
        await stream.wait_for_connection()
        stop.set()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(stream.read(), 30)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(ended.value).reason == "STOPPING"


async def test_a_call_that_outlasts_the_grace_is_unavailable(
    services: Services, ours: Identity, database: Database
) -> None:
    async with (
        stoppable(services, drain_seconds=0.2) as stop,
        channel_to(services) as channel,
        locked_log(database),
    ):
        call = asyncio.create_task(record(grpc_api.ActivityServiceStub(channel), ours))
        await wait_until_a_call_waits(database)
        stop.set()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(call, 30)
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(ended.value).reason == "STOPPING"


async def test_a_new_client_is_served_while_others_learn_of_the_stop(
    services: Services, ours: Identity
) -> None:
    patient = {"drain_pause_seconds": 6, "drain_seconds": 30}
    async with stoppable(services, **patient) as stop, channel_to(services) as channel:
        stop.set()
        await wait_for_status(channel, NAME, NOT_SERVING)
        async with channel_to(services) as newer:
            await record(grpc_api.ActivityServiceStub(newer), ours)


async def test_a_call_that_ended_in_line_is_not_served() -> None:
    gone: Any = SimpleNamespace(peer=lambda: "")
    with pytest.raises(asyncio.CancelledError):
        OpenCalls().begin(gone)
