"""How fast the activity log records and reads, against Postgres and gRPC themselves."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.clock import new_id, to_datetime, to_timestamp, utc_now
from services.dev import Stack, running
from tests.benchmarks.empty import empty_server
from tests.benchmarks.report import Benchmark, Result, ratio_of

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

ACTIONS = list(range(1, 12))
COLUMNS = (
    "tenant_id", "activity_id", "user_id", "action_type", "target_id", "metadata", "created_at",
    "ip_address", "user_agent",
)  # fmt: skip
NAMES = {
    number: name.removeprefix("ACTION_TYPE_").lower() for name, number in pb.ActionType.items()
}
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Bench:
    """A running activity service, its database past row level security, and a caller."""

    stack: Stack
    database: asyncpg.Connection[asyncpg.Record]
    stub: ActivityServiceAsyncStub
    tenant_id: uuid.UUID
    metadata: Metadata

    async def empty(self) -> None:
        """Forget what was recorded."""
        await self.database.execute(
            "truncate activity.activity_log, activity.batches, activity.outbox, activity.requests"
        )


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Start PostgreSQL, NATS and the activity service, as `prospect dev` does."""
    tenant_id, user_id = uuid.uuid4(), uuid.uuid4()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), services=("activity",)) as stack,
    ):
        database = await asyncpg.connect(stack.postgres.dsn())
        token = stack.token(tenant_id, user_id)
        async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
            stub = grpc_api.ActivityServiceStub(channel)
            yield Bench(stack, database, stub, tenant_id, (("authorization", f"Bearer {token}"),))
        await database.close()


def entries(count: int) -> list[pb.NewActivity]:
    """Return entries of the last hours, with ids, targets, metadata and request context."""
    dice, now = random.Random(count), utc_now()
    users = [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(200)]
    moments = [now - timedelta(seconds=dice.random() * 7_200) for _ in range(count)]
    return [
        pb.NewActivity(
            activity_id=str(new_id(moment)),
            user_id=dice.choice(users),
            action_type=pb.ActionType.ValueType(dice.choice(ACTIONS)),
            target_id=f"prospect-{dice.randrange(100_000)}",
            metadata_json=f'{{"query": "cfo", "page": {dice.randrange(50)}}}',
            created_at=to_timestamp(moment),
            ip_address="203.0.113.7",
            user_agent=AGENT,
        )
        for moment in moments
    ]


def records(tenant_id: uuid.UUID, new: Sequence[pb.NewActivity]) -> list[tuple[Any, ...]]:
    """Return the same entries as rows for COPY."""
    return [
        (tenant_id, uuid.UUID(e.activity_id), uuid.UUID(e.user_id), NAMES[e.action_type],
         e.target_id, e.metadata_json, to_datetime(e.created_at), e.ip_address,
         e.user_agent)
        for e in new
    ]  # fmt: skip


def pieces(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Cut a list."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def side_by_side(
    callers: int, call: Callable[[Any], Awaitable[Any]], requests: Sequence[Any]
) -> float:
    """Send requests by so many callers and return the seconds it took."""
    left = list(reversed(requests))

    async def caller() -> None:
        while left:
            await call(left.pop())

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - started


async def record_batches() -> AsyncIterator[Result]:
    """Batches through gRPC, against COPY of the same rows into the same table."""
    count, size, callers = 60_000, 5_000, 3
    rounds = []
    async with bench() as at:
        for _ in range(6):
            new = entries(count)
            copied = await copy_seconds(at, records(at.tenant_id, new), size)
            await at.empty()
            recorded = await side_by_side(
                callers,
                partial(at.stub.RecordActivities, metadata=at.metadata),
                [pb.RecordActivitiesRequest(activities=each) for each in pieces(new, size)],
            )
            rounds.append((count / recorded, count / copied))
    yield ratio_of("activity.record_batch_vs_copy", "rows/s", "at least 0.6", rounds[1:])


async def copy_seconds(at: Bench, rows: list[tuple[Any, ...]], size: int) -> float:
    """Copy rows by one connection, in pieces."""
    await at.empty()
    started = time.perf_counter()
    for piece in pieces(rows, size):
        await at.database.copy_records_to_table(
            "activity_log", schema_name="activity", columns=COLUMNS, records=piece
        )
    return time.perf_counter() - started


async def record_one_by_one() -> AsyncIterator[Result]:
    """RecordActivity by 64 callers, against an empty method of an empty server."""
    count, callers = 6_000, 64
    rounds, spreads = [], []
    async with bench() as at, empty_server() as empty:
        for _ in range(6):
            requests = [pb.RecordActivityRequest(activity=each) for each in entries(count)]
            bare = await side_by_side(callers, empty, requests)
            times: list[float] = []
            recorded = await side_by_side(callers, partial(timed_record, at, times), requests)
            rounds.append((count / recorded, count / bare))
            percentiles = quantiles(times, n=100)
            spreads.append((percentiles[98] * 1000, percentiles[49] * 1000))
    yield ratio_of("activity.record_unary_vs_empty_rpc", "calls/s", "at least 0.7", rounds[1:])
    yield ratio_of("activity.record_unary_p99_vs_p50", "ms", "at most 5", spreads[1:])


async def timed_record(at: Bench, times: list[float], request: pb.RecordActivityRequest) -> None:
    """Record one entry and note the seconds it took."""
    started = time.perf_counter()
    await at.stub.RecordActivity(request, metadata=at.metadata)
    times.append(time.perf_counter() - started)


BENCHMARKS: tuple[Benchmark, ...] = (record_batches, record_one_by_one)
