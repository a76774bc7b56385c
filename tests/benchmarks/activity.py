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
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import psutil
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.clock import new_id, to_datetime, to_timestamp, utc_now
from devstack.stack import Stack, running
from tests.benchmarks.empty import empty_server
from tests.benchmarks.report import Benchmark, Result, ratio_of

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

ACTIONS = [number for number in pb.ActionType.values() if number]
COLUMNS = (
    "tenant_id", "activity_id", "user_id", "action_type", "target_id", "metadata", "created_at",
    "ip_address", "user_agent",
)  # fmt: skip
NAMES = {
    number: name.removeprefix("ACTION_TYPE_").lower() for name, number in pb.ActionType.items()
}
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
ROUNDS = 5
LATEST_HOURS = timedelta(hours=2)
"""How far back entries happened: on the first day of a month, in the month before."""
PAGES = 100
PAGE = 1_000
PAGE_SQL = """
select activity_id, user_id, action_type, target_id, metadata, created_at, recorded_at, ip_address,
  user_agent
from activity.activity_log where tenant_id = $1
order by created_at desc, activity_id desc limit $2
"""
ADD_ROWS = """
insert into activity.activity_log (
  tenant_id, activity_id, user_id, action_type, target_id, metadata, created_at, user_agent)
select $1, uuidv7(), ('00000000-0000-7000-8000-' || lpad((n % 1000)::text, 12, '0'))::uuid,
  (array['login', 'search_executed', 'profile_viewed'])[1 + n % 3], 'prospect-' || n % 5000,
  jsonb_build_object('query', 'cfo', 'page', n % 50),
  date_trunc('month', now()) + random() * (now() - date_trunc('month', now())), 'Mozilla/5.0'
from generate_series(1, $2::int) n
"""
MAKE_MONTH = "select activity.ensure_partitions($1::date, $1::date)"
VACUUM = "vacuum analyze activity.activity_log"
ALTER = "alter table activity.activity_log"
PRIMARY_KEY = "activity_log_pk primary key (tenant_id, created_at, activity_id)"
INDEXES = """
select c.relname as name, pg_get_indexdef(c.oid) as definition
from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = 'activity.activity_log'::regclass and not i.indisprimary
"""
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

    async def drop_indexes(self) -> list[str]:
        """Drop all indexes; return how they are made again."""
        rows = await self.database.fetch(INDEXES)
        for row in rows:
            await self.database.execute(f"drop index activity.{row['name']}")
        await self.database.execute(f"{ALTER} drop constraint activity_log_pk")
        definitions = [str(row["definition"]).replace(" ON ONLY ", " ON ") for row in rows]
        return [f"{ALTER} add constraint {PRIMARY_KEY}", *definitions]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Start PostgreSQL, NATS and the activity service, as `prospect dev` does."""
    tenant_id, user_id = uuid.uuid4(), uuid.uuid4()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), services=("activity",)) as stack,
    ):
        database = await asyncpg.connect(stack.postgres.dsn())
        await make_last_days_month(database)
        earliest = utc_now() - LATEST_HOURS
        await database.execute("select activity.ensure_partitions($1, $1)", earliest.date())
        token = stack.token(tenant_id, user_id)
        async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
            stub = grpc_api.ActivityServiceStub(channel)
            yield Bench(stack, database, stub, tenant_id, (("authorization", f"Bearer {token}"),))
        await database.close()


async def make_last_days_month(database: asyncpg.Connection[asyncpg.Record]) -> None:
    """Make the month of yesterday, for entries that are written past the service."""
    yesterday = (utc_now() - timedelta(days=1)).date()
    await database.execute(MAKE_MONTH, yesterday.replace(day=1))


def entries(count: int) -> list[pb.NewActivity]:
    """Return entries of the last hours, with ids, targets, metadata and request context."""
    dice, now = random.Random(count), utc_now()
    users = [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(200)]
    moments = [now - LATEST_HOURS * dice.random() for _ in range(count)]
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
    count, size, callers = 40_000, 5_000, 3
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
    count, callers = 4_000, 64
    rounds, spreads = [], []
    async with bench() as at, empty_server() as empty:
        for _ in range(6):
            requests = [pb.RecordActivityRequest(activity=each) for each in entries(count)]
            # The same metadata: what a token costs on the way is gRPC's share, not the service's.
            bare = await side_by_side(callers, partial(empty, metadata=at.metadata), requests)
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


async def tail() -> AsyncIterator[Result]:
    """How long after the call that records an entry a tail delivers it, where little happens."""
    dice, lags = random.Random(0), []
    async with bench() as at:
        following = at.stub.TailActivities(pb.TailActivitiesRequest(), metadata=at.metadata)
        await following.read()
        for entry in entries(100):
            await asyncio.sleep(dice.random() / 10)
            started = time.perf_counter()
            await timed_record(at, [], pb.RecordActivityRequest(activity=entry))
            await following.read()
            lags.append((time.perf_counter() - started) * 1_000)
        following.cancel()
    late = quantiles(lags, n=100)[98]
    yield Result("activity.tail_lag_p99_ms", round(late, 1), "ms", 250, late / 250, "at most 1")


async def grow_and_list() -> AsyncIterator[Result]:
    """The server's memory over 5 million rows recorded; pages and an export of 10 million."""
    async with bench() as little, bench() as at:
        await add_rows(little, 100_000)
        await little.database.execute(VACUUM, timeout=600)
        # Only the server's memory counts now: without indexes the rows come faster.
        definitions = await at.drop_indexes()
        await record_rows(at, 500_000)
        process = psutil.Process(at.stack.processes["activity"].pid)
        before = process.memory_info().rss
        await record_rows(at, 5_000_000)
        growth = (process.memory_info().rss - before) / 1_000_000
        await add_rows(at, 4_500_000)
        for definition in definitions:
            await at.database.execute(definition, timeout=600)
        await at.database.execute(VACUUM, timeout=600)
        # In turns, for the machine is not as fast at every minute.
        both = [
            (await page_milliseconds(at), await page_milliseconds(little))
            for _ in range(ROUNDS + 1)
        ][1:]
        exported = await export_growth(at, 500_000)
    yield Result(
        "activity.server_memory_growth_mb", round(growth, 1), "MB", 20, growth / 20, "at most 1"
    )
    yield Result(
        "activity.export_memory_growth_mb",
        round(exported, 1),
        "MB",
        150,
        exported / 150,
        "at most 1",
    )
    pages = [(large[0], small[0]) for large, small in both]
    yield ratio_of("activity.list_10m_vs_100k", "ms", "at most 1.3", pages)
    yield ratio_of("activity.list_vs_sql", "ms", "at most 1.5", [large for large, _ in both])


async def export_growth(at: Bench, count: int) -> float:
    """Return by how many MB the server grows at most while so many rows of an export leave it."""
    process = psutil.Process(at.stack.processes["activity"].pid)
    before = most = process.memory_info().rss
    request = pb.ExportActivitiesRequest(format=pb.EXPORT_FORMAT_NDJSON)
    call = at.stub.ExportActivities(request, metadata=at.metadata)
    async for response in call:
        most = max(most, process.memory_info().rss)
        if response.row_count >= count:
            break
    call.cancel()
    return (most - before) / 1_000_000


async def record_rows(at: Bench, count: int) -> None:
    """Record so many entries through gRPC; the ids differ, the rest repeats."""
    template, size = entries(5_000), 5_000

    async def record(number: int) -> None:
        moment = utc_now()
        for each in template:
            each.activity_id = str(new_id(moment))
        request = pb.RecordActivitiesRequest(activities=template)
        await at.stub.RecordActivities(request, metadata=at.metadata)

    await side_by_side(3, record, range(count // size))


async def add_rows(at: Bench, count: int) -> None:
    """Add rows of this month by SQL."""
    await at.database.execute(ADD_ROWS, at.tenant_id, count, timeout=600)


async def page_milliseconds(at: Bench) -> tuple[float, float]:
    """Return the medians of a first page through gRPC and of the bare SQL, taken in turns."""
    through, bare = [], []
    app = await asyncpg.connect(at.stack.postgres.dsn("activity_app"))
    async with app.transaction():
        await app.execute("select set_config('app.current_tenant_id', $1, true)", str(at.tenant_id))
        for _ in range(PAGES):
            started = time.perf_counter()
            await at.stub.ListActivities(
                pb.ListActivitiesRequest(page_size=PAGE), metadata=at.metadata
            )
            listed = time.perf_counter()
            await app.fetch(PAGE_SQL, at.tenant_id, PAGE)
            bare.append((time.perf_counter() - listed) * 1_000)
            through.append((listed - started) * 1_000)
    await app.close()
    return median(through), median(bare)


BENCHMARKS: tuple[Benchmark, ...] = (record_batches, record_one_by_one, tail, grow_and_list)
