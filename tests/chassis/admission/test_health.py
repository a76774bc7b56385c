"""Health is told to anybody, and nobody who asks for it holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.admission.health import MAX_CHECKS, Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CHECK = "/grpc.health.v1.Health/Check"


@pytest.fixture
async def health() -> AsyncIterator[tuple[Health, grpc.aio.Channel]]:
    """A server that has only its health, and a channel to it."""
    server, health = grpc.aio.server(), Health(seconds=60)
    health.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health, channel
    await server.stop(None)


async def test_checks_that_ask_nothing_make_room_for_a_newer_one(
    health: tuple[Health, grpc.aio.Channel],
) -> None:
    _, channel = health
    silent: list[Any] = [channel.stream_stream(CHECK)() for _ in range(MAX_CHECKS + 1)]
    ends = [asyncio.create_task(call.code()) for call in silent]
    ended, _ = await asyncio.wait(ends, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert [each.result() for each in ended] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == SERVING
    for call in silent:
        call.cancel()
    await asyncio.wait(ends)


async def test_a_service_that_is_not_known_is_not_found(
    health: tuple[Health, grpc.aio.Channel],
) -> None:
    stub = health_pb2_grpc.HealthStub(health[1])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Check(health_pb2.HealthCheckRequest(service="tea"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watcher_is_told_of_changes_after_another_one_left(
    health: tuple[Health, grpc.aio.Channel],
) -> None:
    own, channel = health
    own.set("s", SERVING)
    stub = health_pb2_grpc.HealthStub(channel)
    leaves, stays = (stub.Watch(health_pb2.HealthCheckRequest(service="s")) for _ in range(2))
    for watch in (leaves, stays):
        assert (await watch.read()).status == SERVING
    leaves.cancel()
    own.set("s", NOT_SERVING)
    assert (await asyncio.wait_for(stays.read(), 30)).status == NOT_SERVING


async def test_a_service_that_stops_says_so_and_stays_with_it(
    health: tuple[Health, grpc.aio.Channel],
) -> None:
    own, channel = health
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    own.stop()
    own.set("", SERVING)
    assert (await asyncio.wait_for(watch.read(), 30)).status == NOT_SERVING
