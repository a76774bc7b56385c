"""Health is told to anybody, and nobody who asks for it holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.admission import health as admission
from chassis.admission.health import MAX_CHECKS, Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


@asynccontextmanager
async def serving(seconds: float = 60) -> AsyncIterator[tuple[Health, grpc.aio.Channel]]:
    """Serve only the health; yield it and a channel to it."""
    server, health = grpc.aio.server(), Health(seconds)
    health.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health, channel
    await server.stop(None)


@pytest.fixture
async def health() -> AsyncIterator[tuple[Health, grpc.aio.Channel]]:
    async with serving() as served:
        yield served


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


async def test_every_service_is_down_once_the_process_stops(
    health: tuple[Health, grpc.aio.Channel],
) -> None:
    own, channel = health
    own.set("s", SERVING)
    own.stop()
    for service in ("", "s"):
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service)
        )
        assert answer.status == NOT_SERVING


async def test_a_watcher_of_an_unknown_service_is_told_so_and_learns_when_it_is_there(
    health: tuple[Health, grpc.aio.Channel],
) -> None:
    own, channel = health
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="new"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    own.set("new", SERVING)
    assert (await asyncio.wait_for(watch.read(), 30)).status == SERVING


async def test_a_watcher_too_many_ends_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_WATCHES", 1)
    async with serving() as (_, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        oldest = stub.Watch(health_pb2.HealthCheckRequest())
        await oldest.read()
        newest = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await newest.read()).status == SERVING
        assert await asyncio.wait_for(oldest.code(), 30) is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("path", [CHECK, WATCH])
async def test_a_caller_that_asks_nothing_is_ended_after_a_while(path: str) -> None:
    async with serving(seconds=0.1) as (_, channel):
        call: Any = channel.stream_stream(path)()
        assert await asyncio.wait_for(call.code(), 30) is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("sent", [[], [b"\x0a\xff"]], ids=["nothing", "no-message"])
async def test_what_is_no_health_request_is_an_invalid_argument(
    health: tuple[Health, grpc.aio.Channel], sent: list[bytes]
) -> None:
    call: Any = health[1].stream_stream(CHECK)()
    for body in sent:
        await call.write(body)
    await call.done_writing()
    assert await asyncio.wait_for(call.code(), 30) is grpc.StatusCode.INVALID_ARGUMENT
