"""A running enrichment service, with the sandbox as its sources, and rows without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api

from devstack import servers
from services.cli.operate.services import ServiceName
from tests.enrichment.engine import Engine, Sources, engine
from tests.enrichment.rows import Rows
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Database, Identity, SandboxDesk, Services


@pytest.fixture
async def enrichment(
    services: Services, sandbox_desk: SandboxDesk
) -> AsyncIterator[grpc_api.EnrichmentServiceAsyncStub]:
    settings = sandbox_settings(sandbox_desk.url) | {"call_timeout_seconds": 3}
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        yield grpc_api.EnrichmentServiceStub(channel)


@pytest.fixture
def rows(database: Database, ours: Identity) -> Rows:
    """What writes prospects and runs of our tenant, past the service."""
    return Rows(database, ours.tenant_id)


@pytest.fixture
async def replicas(
    database: Database, nats_server: servers.Nats, nats: Client
) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two replicas that share their servers; failures open a breaker at three, for 0.2 s."""
    async with AsyncExitStack() as stack:
        values: dict[str, Any] = {"fail_max": 3, "reset_seconds": 0.2, "working": False}
        dsn = database.dsn("enrichment_app")
        one, two = [
            await stack.enter_async_context(engine(dsn, nats_server.url, Sources(), **values))
            for _ in range(2)
        ]
        yield one, two
