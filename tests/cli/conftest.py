"""Running services, and the command beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from services.cli.operate.services import ServiceName
from tests.cli.enrich.command import Enrich
from tests.cli.usage.command import Usage
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Identity, SandboxDesk, Services
from tests.metrics.conftest import Pair


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep what a service logs off this process's stdout, which is the command's while it runs."""
    structlog.configure(logger_factory=structlog.testing.CapturingLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
async def enrich(
    quiet: None, services: Services, sandbox_desk: SandboxDesk, ours: Identity, tmp_path: Path
) -> AsyncIterator[Enrich]:
    """`prospect enrich`, its sources the sandbox, and a token that has every scope."""
    token = tmp_path / "token"
    token.write_text(ours.metadata()[0][1].split()[1])
    async with services.running(ServiceName.ENRICHMENT, **sandbox_settings(sandbox_desk.url)):
        yield Enrich(
            {
                "PROSPECT_ENRICHMENT_ADDRESS": services.addresses[ServiceName.ENRICHMENT],
                "PROSPECT_TOKEN_FILE": str(token),
                "COLUMNS": "200",
            }
        )


@pytest.fixture
async def usage(
    quiet: None, services: Services, ours: Identity, tmp_path: Path
) -> AsyncIterator[Usage]:
    """`prospect usage`, with a token that has every scope of a tenant's user."""
    token, audit = tmp_path / "token", tmp_path / "auditor"
    token.write_text(ours.metadata()[0][1].split()[1])
    audit.write_text(ours.metadata("metrics:audit")[0][1].split()[1])
    async with (
        services.running(ServiceName.ACTIVITY) as activity,
        services.running(
            ServiceName.METRICS,
            activity_address=services.addresses[ServiceName.ACTIVITY],
            activity_token_file=services.audit_token_file(),
        ) as metrics,
    ):
        environment = {
            "PROSPECT_METRICS_ADDRESS": services.addresses[ServiceName.METRICS],
            "PROSPECT_TOKEN_FILE": str(token),
            "COLUMNS": "200",
        }
        stubs = activity_api.ActivityServiceStub(activity), metrics_api.MetricsServiceStub(metrics)
        yield Usage(environment, Pair(*stubs), audit)
