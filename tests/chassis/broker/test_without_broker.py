"""A service without its broker begins, serves what needs none, and ends when it is told to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_grpc

from chassis import service
from chassis.broker.client import connect
from devstack import servers
from services.cli.operate.services import ServiceName
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Identity, Services

NOWHERE = "127.0.0.1:1"
SETTINGS: dict[ServiceName, dict[str, Any]] = {
    ServiceName.ACTIVITY: {},
    ServiceName.ENRICHMENT: sandbox_settings(f"http://{NOWHERE}"),
    ServiceName.METRICS: {"activity_address": NOWHERE, "activity_token_file": "none"},
}


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the broker will be."""
    monkeypatch.setattr(service, "START_SECONDS", 0.1)
    return servers.free_port()


@pytest.fixture
def without(services: Services, port: int) -> Services:
    """What starts services without a broker."""
    return replace(services, nats_url=f"nats://127.0.0.1:{port}")


@pytest.mark.parametrize("name", ServiceName)
async def test_a_service_begins_and_ends_without_a_broker(
    without: Services, name: ServiceName
) -> None:
    async with without.running(name, **SETTINGS[name]):
        pass


async def test_what_was_recorded_without_a_broker_is_published_when_it_comes(
    without: Services, port: int, ours: Identity, tmp_path: Path
) -> None:
    async with without.running(ServiceName.ACTIVITY) as channel:
        activity = activity_grpc.ActivityServiceStub(channel)
        entry = pb.NewActivity(user_id=str(ours.user_id), action_type=pb.ACTION_TYPE_LOGIN)
        request = pb.RecordActivityRequest(activity=entry)
        await activity.RecordActivity(request, metadata=ours.metadata())
        with servers.nats_server(tmp_path / "late", port=port) as server:
            client = await connect(server.url, "test")
            heard: asyncio.Queue[object] = asyncio.Queue()
            await client.subscribe("activity.recorded.*", cb=heard.put)
            await asyncio.wait_for(heard.get(), 30)
            await client.close()


async def test_a_tail_is_unavailable_without_a_broker(without: Services, ours: Identity) -> None:
    async with without.running(ServiceName.ACTIVITY) as channel:
        activity = activity_grpc.ActivityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in activity.TailActivities(
                pb.TailActivitiesRequest(), metadata=ours.metadata(), timeout=20
            ):
                pass
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
