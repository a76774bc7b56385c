"""A running enrichment service, with the sandbox as its sources, and the command beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from services.cli.catalogue import ServiceName
from tests.cli.enriching import Enrich
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Identity, SandboxDesk, Services


@pytest.fixture
async def enrich(
    services: Services, sandbox_desk: SandboxDesk, ours: Identity, tmp_path: Path
) -> AsyncIterator[Enrich]:
    """The command, and a token that has every scope."""
    # The service logs to this process's stdout, which is the command's while it runs.
    structlog.configure(logger_factory=structlog.testing.CapturingLoggerFactory())
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
    structlog.reset_defaults()
