"""A service's life: health follows what it stands on, reflection names it, a stop drains."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from pydantic import SecretStr

from chassis.settings import SettingsError
from devstack import servers
from services.cli.operate.services import ServiceName
from tests.harness import Services, admin

NAME = "prospect.activity.v1.ActivityService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def wait_for_status(channel: grpc.aio.Channel, service: str, status: int) -> None:
    """Follow the health of `service` until it is `status`."""
    stub = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(30):
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
            if answer.status == status:
                return


async def test_health_is_serving_when_postgres_and_nats_answer(services: Services) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        await wait_for_status(channel, NAME, SERVING)


async def test_health_follows_nats_while_the_process_stays_live(
    services: Services, nats_server: servers.Nats
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        await wait_for_status(channel, NAME, SERVING)
        servers.stop(nats_server.process, signal.SIGKILL)
        await wait_for_status(channel, NAME, NOT_SERVING)
        await wait_for_status(channel, "", SERVING)


async def test_health_follows_postgres(services: Services) -> None:
    database = services.database
    async with services.running(ServiceName.ACTIVITY) as channel:
        await wait_for_status(channel, NAME, SERVING)
        await admin(database.server, f"alter database {database.name} allow_connections false")
        await database.end_sessions()
        await wait_for_status(channel, NAME, NOT_SERVING)


async def test_a_service_whose_port_is_taken_does_not_start_and_says_so(
    services: Services,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"PROSPECT_LISTEN: {taken} is in use"):
            async with services.running(ServiceName.ACTIVITY, listen=taken):
                pytest.fail("it runs")


async def test_a_service_without_its_database_does_not_start_and_says_so(
    services: Services, tmp_path: Path
) -> None:
    nowhere = SecretStr(f"postgresql://activity_app@/none?host={tmp_path}")
    with pytest.raises(SettingsError, match="PROSPECT_POSTGRES_DSN: no connection: "):
        async with services.running(ServiceName.ACTIVITY, postgres_dsn=nowhere):
            pytest.fail("it runs")


async def test_reflection_describes_the_service_in_development(services: Services) -> None:
    async with services.running(ServiceName.ACTIVITY, reflection=True):
        names = await asyncio.to_thread(_reflected, services.addresses[ServiceName.ACTIVITY])
    assert NAME in names


def _reflected(target: str) -> list[str]:
    with grpc.insecure_channel(target) as channel:
        return list(ProtoReflectionDescriptorDatabase(channel).get_services())
