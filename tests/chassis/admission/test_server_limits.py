"""What the gRPC server takes from a client before our code: metadata, pings, connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.admission.server_options import server_options
from chassis.settings import ServiceSettings
from devstack.stack import ALL_SCOPES
from services.cli.operate.services import ServiceName
from tests.harness import Identity, Services

RECORD = "/prospect.activity.v1.ActivityService/RecordActivity"
STREAM = "/prospect.activity.v1.ActivityService/StreamActivities"


def large_token(who: Identity, size: int) -> tuple[tuple[str, str], ...]:
    """Return metadata whose token has about so many bytes."""
    scopes = f"{ALL_SCOPES} {'g' * int((size - 900) * 0.75)}"
    return who.metadata(scopes)


@asynccontextmanager
async def pinging(address: str, milliseconds: int) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel that pings, also while it has no call."""
    options = [
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        await channel.channel_ready()
        yield channel


def settings_with(**settings: float) -> ServiceSettings:
    values: dict[str, Any] = {"postgres_dsn": "x", "nats_url": "x"}
    return ServiceSettings(**(values | settings))


@asynccontextmanager
async def a_server(**settings: float) -> AsyncIterator[str]:
    """Serve nothing with these limits; yield the address."""
    server = grpc.aio.server(options=server_options(settings_with(**settings)))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


def test_grpc_is_told_sizes_in_bytes_and_times_in_milliseconds() -> None:
    settings = settings_with(
        max_message_mb=3,
        max_metadata_kb=9,
        connection_idle_seconds=1.5,
        connection_age_seconds=2.5,
        connection_grace_seconds=3.5,
        client_ping_seconds=4.5,
    )
    told = dict(server_options(settings))
    assert told["grpc.max_receive_message_length"] == 3 * 1024 * 1024
    assert told["grpc.max_send_message_length"] == 3 * 1024 * 1024
    assert told["grpc.max_metadata_size"] == 9 * 1024
    assert told["grpc.absolute_max_metadata_size"] == 9 * 1024
    assert told["grpc.max_connection_idle_ms"] == 1_500
    assert told["grpc.max_connection_age_ms"] == 2_500
    assert told["grpc.max_connection_age_grace_ms"] == 3_500
    assert told["grpc.keepalive_time_ms"] == 30_000
    assert told["grpc.http2.min_ping_interval_without_data_ms"] == 4_500


async def test_two_servers_do_not_share_a_port() -> None:
    async with a_server() as address:
        other = grpc.aio.server(options=server_options(settings_with()))
        with pytest.raises(RuntimeError):
            other.add_insecure_port(address)


async def test_tokens_of_up_to_16_kb_work_at_every_call(services: Services, ours: Identity) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        stub = grpc_api.ActivityServiceStub(channel)
        for size in (8_000, 12_000, 16_000):
            metadata = large_token(ours, size)
            assert size * 0.9 < len(metadata[0][1]) < size * 1.1
            for _ in range(20):
                await stub.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)


async def test_metadata_above_the_setting_are_refused_at_every_call(
    services: Services, ours: Identity
) -> None:
    metadata = large_token(ours, 12_000)
    async with services.running(ServiceName.ACTIVITY, max_metadata_kb=8) as channel:
        stub = grpc_api.ActivityServiceStub(channel)
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_may_ping_as_often_as_the_setting_says(services: Services) -> None:
    async with (
        a_server(client_ping_seconds=0.1) as lenient,
        a_server(client_ping_seconds=60) as strict,
        pinging(lenient, 200) as kept,
        pinging(strict, 200) as sent_away,
    ):
        # The one that is sent away shows that the other one has pinged as often.
        await asyncio.wait_for(sent_away.wait_for_state_change(grpc.ChannelConnectivity.READY), 30)
        assert kept.get_state() is grpc.ChannelConnectivity.READY


async def test_a_connection_is_closed_by_its_age_and_its_calls_go_on(
    services: Services, ours: Identity
) -> None:
    async with services.running(
        ServiceName.ACTIVITY, connection_age_seconds=0.3, tail_rest_seconds=0.1
    ) as channel:
        stub = grpc_api.ActivityServiceStub(channel)
        tail = stub.TailActivities(pb.TailActivitiesRequest(), metadata=ours.metadata())
        await tail.read()
        state = channel.get_state()
        await asyncio.wait_for(channel.wait_for_state_change(state), 30)
        assert isinstance(await tail.read(), pb.TailActivitiesResponse)
        await stub.ListActivities(pb.ListActivitiesRequest(), metadata=ours.metadata())
        tail.cancel()


async def test_a_stream_is_cut_off_after_the_grace_of_its_connection(
    services: Services, ours: Identity
) -> None:
    async with services.running(
        ServiceName.ACTIVITY, connection_age_seconds=0.2, connection_grace_seconds=0.2
    ) as channel:
        tail = grpc_api.ActivityServiceStub(channel).TailActivities(
            pb.TailActivitiesRequest(), metadata=ours.metadata()
        )
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await asyncio.wait_for(read_all(tail), 30)
    assert cut.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_connection_without_calls_is_closed(services: Services) -> None:
    ready = grpc.ChannelConnectivity.READY
    async with services.running(ServiceName.ACTIVITY, connection_idle_seconds=0.2) as channel:
        await asyncio.wait_for(channel.wait_for_state_change(ready), 30)


async def test_connections_above_the_setting_are_closed(services: Services) -> None:
    async with services.running(ServiceName.ACTIVITY, max_connections=10):
        address = services.addresses[ServiceName.ACTIVITY]
        channels = [
            grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
            for _ in range(15)
        ]
        for channel in channels:
            channel.get_state(try_to_connect=True)
        connecting = [asyncio.create_task(channel.channel_ready()) for channel in channels]
        done, waiting = await asyncio.wait(connecting, timeout=3)
        for each in waiting:
            each.cancel()
        for channel in channels:
            await channel.close()
        assert len(done) < 15


async def test_calls_above_the_setting_wait_at_the_client(
    services: Services, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY, max_calls_per_connection=2) as channel:
        stub = grpc_api.ActivityServiceStub(channel)
        tails = [
            stub.TailActivities(pb.TailActivitiesRequest(), metadata=ours.metadata())
            for _ in range(2)
        ]
        for tail in tails:
            await tail.read()
        waiting = asyncio.ensure_future(
            stub.ListActivities(pb.ListActivitiesRequest(), metadata=ours.metadata())
        )
        assert not (await asyncio.wait([waiting], timeout=0.5))[0]
        tails[0].cancel()
        await asyncio.wait_for(waiting, 30)
        tails[1].cancel()


async def read_all(stream: Any) -> None:
    """Read a stream to its end."""
    async for _ in stream:
        pass


async def half_open(channel: grpc.aio.Channel, path: str, metadata: Any) -> grpc.StatusCode:
    """Begin a call, send no request, and return how the server ends it."""
    call: Any = channel.stream_stream(path)(metadata=metadata)
    return await asyncio.wait_for(call.code(), 30)


async def test_a_call_without_a_token_is_refused_before_its_request_is_read(
    services: Services,
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        for path in (RECORD, STREAM):
            assert await half_open(channel, path, None) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_call_whose_request_does_not_come_is_ended(
    services: Services, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY, first_message_seconds=0.2) as channel:
        for path in (RECORD, STREAM):
            code = await half_open(channel, path, ours.metadata())
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_a_request_is_an_invalid_argument(
    services: Services, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        call: Any = channel.stream_stream(RECORD)(metadata=ours.metadata())
        await call.done_writing()
        assert await asyncio.wait_for(call.code(), 30) is grpc.StatusCode.INVALID_ARGUMENT
