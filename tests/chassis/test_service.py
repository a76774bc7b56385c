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
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api
from pydantic import SecretStr

from chassis.settings import SettingsError
from devstack import servers
from services.cli.operate.services import ServiceName
from tests.activity.recording.test_record_batch import an_activity
from tests.harness import Identity, Services, admin

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


async def test_health_names_the_service_and_its_parts(services: Services) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        for name in ("", NAME, "postgres", "nats"):
            await wait_for_status(channel, name, SERVING)


async def test_a_service_without_nats_is_ready_and_names_nats(
    services: Services, nats_server: servers.Nats, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        await wait_for_status(channel, "nats", SERVING)
        servers.stop(nats_server.process, signal.SIGKILL)
        await wait_for_status(channel, "nats", NOT_SERVING)
        await wait_for_status(channel, NAME, SERVING)
        request = pb.RecordActivityRequest(activity=an_activity())
        await grpc_api.ActivityServiceStub(channel).RecordActivity(
            request, metadata=ours.metadata()
        )


async def test_a_service_without_postgres_is_live_and_not_ready(services: Services) -> None:
    database = services.database
    async with services.running(ServiceName.ACTIVITY) as channel:
        await wait_for_status(channel, NAME, SERVING)
        await admin(database.server, f"alter database {database.name} allow_connections false")
        await database.end_sessions()
        await wait_for_status(channel, NAME, NOT_SERVING)
        await wait_for_status(channel, "", SERVING)
        await admin(database.server, f"alter database {database.name} allow_connections true")
        await wait_for_status(channel, NAME, SERVING)


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
