"""How long everything takes to work again after each fault: the table of docs/reliability.md."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import grpc
from prospect.activity.v1 import activity_service_pb2 as activity
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as enrichment_api
from prospect.enrichment.v1 import runs_pb2 as runs
from prospect.metrics.v1 import metrics_service_pb2 as metrics
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis.clock import new_id
from tests.chaos.campaign.cluster import Cluster, Replica, cluster
from tests.chaos.campaign.faults import Fault
from tests.chaos.killing import RECONNECT_SOON, fetch

TENANT = uuid.UUID(int=0xC0, version=4)
LIMIT_SECONDS = 120.0
PROBES = {
    "activity": (
        activity_api.ActivityServiceStub,
        "ListActivities",
        activity.ListActivitiesRequest(),
    ),
    "enrichment": (enrichment_api.EnrichmentServiceStub, "ListRuns", runs.ListRunsRequest()),
    "metrics": (metrics_api.MetricsServiceStub, "GetSettings", metrics.GetSettingsRequest()),
}


async def recoveries(
    folder: Path, seed: str, faults: Sequence[Fault], tell: Callable[[str], None]
) -> None:
    """Make each fault once, for its longest time; tell when calls and counting worked again.

    Times are seconds after the fault's end: until each replica has answered a read, until each
    activity replica has recorded an entry, and until all of these are counted.
    """
    tell(f"{'fault':40} {'held':>6} {'read':>6} {'recorded':>8} {'counted':>7}")
    async with cluster(folder) as running:
        for fault in faults:
            dice = random.Random(f"{seed}/{fault.name}")
            async with fault.strike(running, dice):
                await asyncio.sleep(fault.seconds[1])
            began = time.monotonic()
            users: list[str] = []
            replicas = list(running.replicas.values())
            loggers = [each for each in replicas if each.service == "activity"]
            read = await _all(began, [_reads(running, each) for each in replicas])
            recorded = await _all(began, [_records(running, each, users) for each in loggers])
            counted = await _all(began, [_counts(running, users)])
            tell(f"{fault.name:40} {fault.seconds[1]:6.1f} {read} {recorded:>8} {counted:>7}")


async def _all(began: float, tries: Sequence[Callable[[], Awaitable[bool]]]) -> str:
    """Try each until it works; return when all had, or `never`."""

    async def until(works: Callable[[], Awaitable[bool]]) -> None:
        while not await works():
            await asyncio.sleep(0.1)

    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await asyncio.gather(*(until(works) for works in tries))
    except TimeoutError:
        return f"{'never':>6}"
    return f"{time.monotonic() - began:6.1f}"


def _reads(running: Cluster, replica: Replica) -> Callable[[], Awaitable[bool]]:
    stub, method, request = PROBES[replica.service]
    return lambda: _answers(running, replica, stub, method, request)


def _records(running: Cluster, replica: Replica, users: list[str]) -> Callable[[], Awaitable[bool]]:
    user = str(uuid.uuid4())
    users.append(user)
    entry = activity.NewActivity(
        activity_id=str(new_id()), user_id=user, action_type=activity.ACTION_TYPE_LOGIN
    )
    request = activity.RecordActivitiesRequest(activities=[entry])
    stub = activity_api.ActivityServiceStub
    return lambda: _answers(running, replica, stub, "RecordActivities", request)


def _counts(running: Cluster, users: list[str]) -> Callable[[], Awaitable[bool]]:
    async def counted() -> bool:
        rows = await fetch(
            running.stack, "select distinct user_id::text as id from metrics.usage_metrics_daily"
        )
        return set(users) <= {row["id"] for row in rows}

    return counted


async def _answers(
    running: Cluster, replica: Replica, stub: type, method: str, request: object
) -> bool:
    token = running.stack.token(TENANT, uuid.UUID(int=1), lifetime=timedelta(hours=1))
    metadata = (("authorization", f"Bearer {token}"),)
    with suppress(grpc.aio.AioRpcError):
        async with grpc.aio.insecure_channel(replica.address, RECONNECT_SOON) as channel:
            await getattr(stub(channel), method)(request, metadata=metadata, timeout=2)
            return True
    return False
