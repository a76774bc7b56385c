"""A running activity service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from services.cli.catalogue import ServiceName
from tests.harness import Services


@pytest.fixture
async def activity(services: Services) -> AsyncIterator[grpc_api.ActivityServiceAsyncStub]:
    """A stub of a running activity service."""
    async with services.running(ServiceName.ACTIVITY) as channel:
        yield grpc_api.ActivityServiceStub(channel)
