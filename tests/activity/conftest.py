"""A running activity service, and a log without one."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.database import Pool
from services.cli.operate.services import ServiceName
from tests.activity.sealed_log import SealedLog
from tests.harness import Database, Identity, Services


@pytest.fixture
async def activity(services: Services) -> AsyncIterator[grpc_api.ActivityServiceAsyncStub]:
    """A stub of a running activity service."""
    async with services.running(ServiceName.ACTIVITY) as channel:
        yield grpc_api.ActivityServiceStub(channel)


@pytest.fixture
async def log(database: Database, pool: Pool) -> SealedLog:
    """One tenant's log, empty."""
    return SealedLog(database, pool, Ed25519PrivateKey.generate(), uuid.uuid4())


@pytest.fixture
async def our_log(services: Services, database: Database, pool: Pool, ours: Identity) -> SealedLog:
    """The log of our tenant, as the running service seals it."""
    return SealedLog(database, pool, services.log_key, ours.tenant_id)
