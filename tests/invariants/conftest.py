"""The service whose RPC a law tries."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from services.cli.operate.services import ServiceName
from tests.harness import Services
from tests.invariants.rpcs import settings_of


@pytest.fixture
async def channel(
    request: pytest.FixtureRequest, services: Services
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service that the test's parameter `name` names."""
    name: ServiceName = request.node.callspec.params["name"]
    async with services.running(name, **settings_of(name, services)) as channel:
        yield channel
