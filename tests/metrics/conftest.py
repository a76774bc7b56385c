"""Running activity and metrics services, wired to each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis.identity.certificates import PemFiles
from chassis.identity.channel import RereadingChannel
from services.cli.operate.services import ServiceName
from services.metrics.proof.activity_log import ActivityLog
from tests.harness import Services

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub
    from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceAsyncStub


@dataclass(frozen=True)
class Pair:
    """Stubs of both services."""

    activity: ActivityServiceAsyncStub
    metrics: MetricsServiceAsyncStub


@asynccontextmanager
async def running_pair(services: Services) -> AsyncIterator[Pair]:
    """Serve both until the block ends, metrics with a token to audit the log."""
    async with services.running(ServiceName.ACTIVITY) as activity:
        settings = {
            "activity_address": services.addresses[ServiceName.ACTIVITY],
            "activity_token_file": services.audit_token_file(),
        }
        async with services.running(ServiceName.METRICS, **settings) as metrics:
            yield Pair(
                activity_api.ActivityServiceStub(activity),
                metrics_api.MetricsServiceStub(metrics),
            )


@pytest.fixture
async def pair(services: Services) -> AsyncIterator[Pair]:
    async with running_pair(services) as pair:
        yield pair


@pytest.fixture
async def log(pair: Pair, services: Services) -> AsyncIterator[ActivityLog]:
    """The running activity service as metrics sees it."""
    address = services.addresses[ServiceName.ACTIVITY]
    log = ActivityLog(RereadingChannel(address, PemFiles("activity")), services.audit_token_file())
    yield log
    await log.close()
