"""The channel to another service is another one once its certificates have changed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.admission.health import Health
from chassis.identity.certificates import PemFiles, server_credentials
from chassis.identity.channel import RereadingChannel
from tests.certificates import Certificates

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def served(certificates: Certificates) -> AsyncIterator[tuple[Health, str]]:
    """A server with TLS that has only its health, and its address."""
    files = PemFiles("tls", certificates.path("server"), certificates.key("server"))
    server, health = grpc.aio.server(), Health(seconds=60)
    health.register(server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(files, demand_client=False))
    await server.start()
    yield health, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def channel(
    served: tuple[Health, str], certificates: Certificates
) -> AsyncIterator[RereadingChannel]:
    channel = RereadingChannel(served[1], PemFiles("activity", authority=certificates.path("ca")))
    yield channel
    await channel.close()


async def watching(channel: RereadingChannel) -> Any:
    """Begin a call that stays open."""
    watch = health_pb2_grpc.HealthStub(channel.current()).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    return watch


def touch(certificates: Certificates) -> None:
    """Put a file of the same content in place of the authority's."""
    shutil.copy(certificates.path("ca"), certificates.path("copy"))
    certificates.path("copy").rename(certificates.path("ca"))


async def test_the_channel_stays_while_the_files_do(channel: RereadingChannel) -> None:
    assert channel.current() is channel.current()


async def test_a_call_goes_on_when_the_files_change(
    served: tuple[Health, str], channel: RereadingChannel, certificates: Certificates
) -> None:
    before = channel.current()
    watch = await watching(channel)
    touch(certificates)
    assert channel.current() is not before
    newer = await watching(channel)
    served[0].set("", NOT_SERVING)
    for each in (watch, newer):
        assert (await asyncio.wait_for(each.read(), 30)).status == NOT_SERVING
        each.cancel()


async def test_closing_waits_for_the_calls_of_a_channel_that_was_replaced(
    channel: RereadingChannel, certificates: Certificates
) -> None:
    watch = await watching(channel)
    touch(certificates)
    newer = channel.current()
    closing = asyncio.create_task(channel.close())
    assert not (await asyncio.wait([closing], timeout=0.1))[0]
    watch.cancel()
    await asyncio.wait_for(closing, 30)
    assert newer.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_a_channel_that_was_replaced_is_forgotten_once_it_is_closed(
    channel: RereadingChannel, certificates: Certificates
) -> None:
    channel.current()
    touch(certificates)
    channel.current()
    async with asyncio.timeout(30):
        while channel._closing:
            await asyncio.sleep(0.01)
