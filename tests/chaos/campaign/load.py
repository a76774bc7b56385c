"""Clients of every kind, and what each was told: what the services have promised."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from prospect.activity.v1 import activity_service_pb2 as activity
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.enrichment.v1 import enrichment_service_pb2 as enrichment
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as enrichment_api
from prospect.enrichment.v1 import runs_pb2 as runs
from prospect.metrics.v1 import metrics_service_pb2 as metrics
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis.clock import new_id, to_timestamp, utc_now
from devstack.stack import ALL_SCOPES, mint
from tests.chaos.campaign.cluster import Cluster
from tests.chaos.killing import RECONNECT_SOON
from tests.metrics.feed import ACTIONS

NOT_NOW = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
CALL_SECONDS = 10.0
AGAIN_SECONDS = 0.2
TENANTS = 4
USERS = [str(uuid.UUID(int=0xB0 + number)) for number in range(8)]


@dataclass
class Promises:
    """What was acknowledged, and the answers that no outage excuses."""

    operations: int = 0
    activities: set[str] = field(default_factory=set)
    runs: dict[str, str] = field(default_factory=dict)
    """The person asked about, by the run's id."""
    erased: dict[str, uuid.UUID] = field(default_factory=dict)
    """The tenant of each erased user."""
    wrong: Counter[str] = field(default_factory=Counter)


class Client:
    """A back end of one tenant, which calls any replica; with `retries` until it is answered."""

    def __init__(
        self, cluster: Cluster, promises: Promises, tenant: uuid.UUID, seed: str, *, retries: bool
    ) -> None:
        self._promises = promises
        self._dice = random.Random(seed)
        self._seed = seed
        self._retries = retries
        # Issued some time ago, so that a replica whose clock is behind takes it.
        issued_at = utc_now() - timedelta(hours=1)
        user, key = uuid.UUID(USERS[0]), cluster.stack.key
        token = mint(key, tenant, user, ALL_SCOPES, timedelta(days=2), issued_at)
        self._tenant = tenant
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._channels = {
            service: [
                grpc.aio.insecure_channel(each.address, RECONNECT_SOON)
                for each in cluster.replicas.values()
                if each.service == service
            ]
            for service in ("activity", "enrichment", "metrics")
        }

    async def work(self, stopping: asyncio.Event) -> None:
        """Make calls of all kinds until told to stop, and see the last one answered."""
        kinds = [self._record] * 6 + [self._enrich] * 2 + [self._read] * 2 + [self._erase]
        number = 0
        while not stopping.is_set():
            number += 1
            await self._dice.choice(kinds)(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._dice.uniform(0, 0.2))

    async def close(self) -> None:
        """Close its connections."""
        for channels in self._channels.values():
            for channel in channels:
                await channel.close()

    async def _record(self, _: int) -> None:
        now = utc_now()
        entries = [
            activity.NewActivity(
                activity_id=str(new_id(now)),
                user_id=self._dice.choice(USERS),
                action_type=self._dice.choice(ACTIONS),
                created_at=to_timestamp(now - self._dice.random() * timedelta(hours=30)),
            )
            for _ in range(self._dice.choice((1, 1, 3, 40, 300)))
        ]
        request = activity.RecordActivitiesRequest(activities=entries)
        answer = await self._call(
            "activity", activity_api.ActivityServiceStub, "RecordActivities", request
        )
        if answer:
            self._promises.activities.update(answer.activity_ids)

    async def _enrich(self, number: int) -> None:
        name = f"Person {self._seed} {number}"
        request = enrichment.RequestEnrichmentRequest(
            name=name, company="Example", request_id=str(new_id())
        )
        answer = await self._call(
            "enrichment", enrichment_api.EnrichmentServiceStub, "RequestEnrichment", request
        )
        if answer:
            self._promises.runs[answer.run.run_id] = name

    async def _read(self, _: int) -> None:
        today = utc_now().date().isoformat()
        reads: list[tuple[str, Any, str, Any]] = [
            (
                "activity",
                activity_api.ActivityServiceStub,
                "ListActivities",
                activity.ListActivitiesRequest(page_size=50),
            ),
            (
                "metrics",
                metrics_api.MetricsServiceStub,
                "GetUsage",
                metrics.GetUsageRequest(start_date=today, end_date=today),
            ),
            (
                "enrichment",
                enrichment_api.EnrichmentServiceStub,
                "ListRuns",
                runs.ListRunsRequest(page_size=20),
            ),
        ]
        await self._call(*self._dice.choice(reads))

    async def _erase(self, _: int) -> None:
        """Record something of a user of its own and have him erased."""
        if self._dice.random() < 0.8:
            return
        user = str(uuid.uuid4())
        now = utc_now()
        entry = activity.NewActivity(
            activity_id=str(new_id(now)), user_id=user, action_type=activity.ACTION_TYPE_LOGIN
        )
        record = activity.RecordActivitiesRequest(activities=[entry])
        stub = activity_api.ActivityServiceStub
        if await self._call("activity", stub, "RecordActivities", record):
            erase = activity.EraseUserRequest(user_id=user)
            if await self._call("activity", stub, "EraseUser", erase):
                self._promises.erased[user] = self._tenant

    async def _call(self, service: str, stub: Any, method: str, request: Any) -> Any:
        """Make a call; return its answer, or None where it was not to be had."""
        while True:
            channel = self._dice.choice(self._channels[service])
            send: Callable[..., Awaitable[Any]] = getattr(stub(channel), method)
            self._promises.operations += 1
            try:
                return await send(request, metadata=self._metadata, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() not in NOT_NOW:
                    told = f"{method}: {error.code().name} {error.details()}"[:200]
                    self._promises.wrong[told] += 1
                    return None
            if not self._retries:
                return None
            await asyncio.sleep(AGAIN_SECONDS)


def clients(cluster: Cluster, promises: Promises, seed: str) -> list[Client]:
    """Return a few clients of each tenant, half of which retry."""
    return [
        Client(
            cluster,
            promises,
            uuid.UUID(int=0xA0 + tenant, version=4),
            f"{seed}/{tenant}/{retries}",
            retries=retries,
        )
        for tenant in range(TENANTS)
        for retries in (True, False)
    ]
