"""A running enrichment service, with the sandbox as its sources, and rows without one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api

from services.cli.catalogue import ServiceName
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
