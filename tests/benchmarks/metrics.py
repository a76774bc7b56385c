"""How fast usage is counted, seen, proven and read, against plain SQL and an empty call."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import asyncpg
import grpc
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.activity.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis import messaging
from chassis.broker.client import BrokerClient, connect
from chassis.broker.streams import ensure
from chassis.clock import new_id, utc_now
from chassis.consumer import Handler, consume
from chassis.database import open_pool
from chassis.identity.certificates import PemFiles
from chassis.identity.channel import RereadingChannel
from chassis.messaging import OutgoingEvent
from chassis.outbox import Relay
from devstack.stack import Stack, running
from services import topology
from services.metrics import events
from services.metrics.counters import ACTION_COUNTERS, ACTION_NAMES
from services.metrics.counting import Counting, Recorded
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.dead_letters import dead_letters
from services.metrics.proof.rebuild import Rebuilder
from services.metrics.proof.reconcile import reconcile
from tests.benchmarks.activity import entries, make_last_days_month, side_by_side
from tests.benchmarks.empty import empty_server
from tests.benchmarks.report import Benchmark, Result, ratio_of

Call = Callable[[Any], Awaitable[Any]]
USERS = 200
BATCH = 1_000
ROUNDS = 5
CONSUMERS = (topology.ACTIVITY_RECORDED, topology.METRICS_ERASED)


@dataclass
class Bench:
    """A running stack, its database past row level security, and a caller."""

    stack: Stack
    database: asyncpg.Connection[asyncpg.Record]
    nats: BrokerClient
    tenant_id: uuid.UUID
    metadata: tuple[tuple[str, str], ...]


@asynccontextmanager
async def bench(*services: str) -> AsyncIterator[Bench]:
    """Start PostgreSQL, NATS and some services, as `prospect dev` does."""
    tenant_id = uuid.uuid4()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), services=services) as stack,
    ):
        database = await asyncpg.connect(stack.postgres.dsn())
        await make_last_days_month(database)
        client = await connect(stack.nats_url, "benchmark")
        await ensure(client, topology.STREAMS, CONSUMERS)
        token = stack.token(tenant_id, uuid.uuid4())
        yield Bench(stack, database, client, tenant_id, (("authorization", f"Bearer {token}"),))
        await client.close()
        await database.close()


COLUMNS = ("batch", "tenant_id", "activity_id", "user_id", "action_type", "created_at")
ADD_ENTRIES = """
insert into activity.activity_log (
  tenant_id, activity_id, user_id, action_type, metadata, created_at)
select $1, uuidv7(), ('00000000-0000-7000-8000-' || lpad((n % $4::int)::text, 12, '0'))::uuid,
  (array['login', 'search_executed', 'profile_viewed'])[1 + n % 3], '{"query": "cfo"}',
  $2::date::timestamp at time zone 'UTC' + n * interval '1 day' / $3::int
from generate_series(0, $3::int - 1) n
"""
ADD_QUARTER_HOURS = """
insert into metrics.usage_metrics_quarter_hours (tenant_id, quarter_hour, user_id, total_logins,
  searches_executed, profiles_viewed, total_activities, digest)
select tenant_id, date_bin('15 minutes', created_at, '2000-01-01Z'), user_id,
  count(*) filter (where action_type = 'login'),
  count(*) filter (where action_type = 'search_executed'),
  count(*) filter (where action_type = 'profile_viewed'), count(*),
  sum(hashtextextended(activity_id::text || action_type, 0))
from activity.activity_log group by 1, 2, 3
"""
ADD_DAYS = """
insert into metrics.usage_metrics_daily (tenant_id, date, user_id, total_logins,
  searches_executed, profiles_viewed, total_activities, digest)
select tenant_id, (quarter_hour at time zone 'UTC')::date, user_id, sum(total_logins),
  sum(searches_executed), sum(profiles_viewed), sum(total_activities), sum(digest)
from metrics.usage_metrics_quarter_hours group by 1, 2, 3
"""
ADD_DAILY_TOTALS = """
insert into metrics.usage_metrics_daily_totals (tenant_id, date, total_logins, searches_executed,
  profiles_viewed, total_activities)
select tenant_id, date, sum(total_logins), sum(searches_executed), sum(profiles_viewed),
  sum(total_activities)
from metrics.usage_metrics_daily group by 1, 2
"""
ADD_DAYS_OF_USERS = """
insert into metrics.usage_metrics_daily (tenant_id, date, user_id, total_logins, profiles_viewed,
  total_activities)
select $1, $2::date - day, gen_random_uuid(), 3, 40, 43
from generate_series(0, 29) day, generate_series(1, $3::int)
"""
CREATE_ROWS_TABLE = """
create table metrics.bench_rows (
  batch int, tenant_id uuid, activity_id uuid, user_id uuid, action_type text,
  created_at timestamptz)
"""


def plain_sql() -> str:
    """Return the statement that counts a batch's rows into quarter-hours and days."""
    names = [*ACTION_COUNTERS.values(), "total_activities", "digest"]
    counts = [
        f"count(*) filter (where action_type = '{ACTION_NAMES[number]}') as {name}"
        for number, name in ACTION_COUNTERS.items()
    ]
    added = ", ".join(f"{name} = u.{name} + excluded.{name}" for name in names)
    sums = ", ".join(f"sum({name})" for name in names)
    listed = ", ".join(names)
    return f"""
    with batch as materialized (
      select tenant_id, date_bin('15 minutes', created_at, '2000-01-01Z') as quarter_hour, user_id,
        {", ".join(counts)}, count(*) as total_activities,
        sum(hashtextextended(activity_id::text || action_type, 0)) as digest
      from metrics.bench_rows where batch = $1 group by 1, 2, 3
    ), quarters as (
      insert into metrics.usage_metrics_quarter_hours as u
        (tenant_id, quarter_hour, user_id, {listed})
      select tenant_id, quarter_hour, user_id, {listed} from batch order by 1, 2, 3
      on conflict (tenant_id, quarter_hour, user_id) do update set {added}
    )
    insert into metrics.usage_metrics_daily as u (tenant_id, date, user_id, {listed})
    select tenant_id, (quarter_hour at time zone 'UTC')::date, user_id, {sums}
    from batch group by 1, 2, 3 order by 1, 2, 3
    on conflict (tenant_id, date, user_id) do update set {added}
    """


def batches(tenant_id: uuid.UUID, number: int) -> list[events_pb2.ActivitiesRecorded]:
    """Return batches of what a tenant's users did in the last two hours."""
    dice, now = random.Random(number), int(utc_now().timestamp() * 1_000_000)
    users = [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(USERS)]
    return [
        events_pb2.ActivitiesRecorded(
            tenant_id=str(tenant_id),
            activity_ids=[str(new_id()) for _ in range(BATCH)],
            user_ids=dice.choices(users, k=BATCH),
            action_types=dice.choices(list(ACTION_NAMES), k=BATCH),  # type: ignore[arg-type]
            created_at_micros=[now - dice.randrange(7_200_000_000) for _ in range(BATCH)],
        )
        for _ in range(number)
    ]


async def apply() -> AsyncIterator[Result]:
    """One consumer counting a stream of batches, against SQL that counts the same rows."""
    number, rounds = 300, []
    async with bench() as at:
        await at.database.execute(CREATE_ROWS_TABLE)
        for _ in range(ROUNDS + 1):
            told = batches(uuid.uuid4(), number)
            counted = await counting_seconds(at, told)
            plain = await plain_seconds(at, batches(uuid.uuid4(), number))
            rounds.append((number * BATCH / counted, number * BATCH / plain))
    yield ratio_of("metrics.apply_vs_sql", "activities/s", "at least 0.7", rounds[1:])


async def counting_seconds(at: Bench, told: list[events_pb2.ActivitiesRecorded]) -> float:
    """Publish events, then return the seconds in which the consumer counts them all."""
    for message in told:
        subject = f"activity.recorded.{message.tenant_id}"
        await messaging.publish(at.nats, OutgoingEvent.of(subject, message, "benchmark"))
    pool = await open_pool(at.stack.postgres.dsn("metrics_app"), schema="metrics", size=10)
    counting = Counting(pool, Relay(pool, at.nats, "metrics_relay"))
    left, stopping = len(told), asyncio.Event()

    async def count(event: Recorded) -> None:
        nonlocal left
        await counting.count(event)
        left -= 1
        if not left:
            stopping.set()

    handler = Handler(topology.ACTIVITY_RECORDED, events_pb2.ActivitiesRecorded, count)
    started = time.perf_counter()
    await consume(at.nats, handler, stopping)
    seconds = time.perf_counter() - started
    await pool.close()
    return seconds


async def plain_seconds(at: Bench, told: list[events_pb2.ActivitiesRecorded]) -> float:
    """Return the seconds in which SQL counts rows that are in a table already."""
    await at.database.execute("truncate metrics.bench_rows")
    rows = [
        (place, message.tenant_id, activity_id, user_id, ACTION_NAMES[action],
         datetime.fromtimestamp(moment / 1_000_000, UTC))
        for place, message in enumerate(told)
        for activity_id, user_id, action, moment in zip(
            message.activity_ids, message.user_ids, message.action_types,
            message.created_at_micros, strict=True)
    ]  # fmt: skip
    await at.database.copy_records_to_table(
        "bench_rows", schema_name="metrics", columns=COLUMNS, records=rows
    )
    await at.database.execute("create index on metrics.bench_rows (batch)")
    await at.database.execute("vacuum analyze metrics.bench_rows")
    sql = plain_sql()
    started = time.perf_counter()
    for place in range(len(told)):
        await at.database.execute(sql, place)
    return time.perf_counter() - started


async def lag() -> AsyncIterator[Result]:
    """How long after the call that records it an entry is in GetUsage, at 5,000 a second."""
    size, seconds = 100, 30
    async with bench("activity", "metrics") as at, calls(at) as (record, usage):
        acknowledged: deque[tuple[float, int]] = deque()
        lags: list[float] = []

        async def follow(total: int) -> None:
            while len(lags) < total // size:
                visible = await usage()
                now = time.perf_counter()
                while acknowledged and acknowledged[0][1] <= visible:
                    lags.append((now - acknowledged.popleft()[0]) * 1_000)
                await asyncio.sleep(0.005)

        requests = [entries(size) for _ in range(seconds * 5_000 // size)]
        following = asyncio.create_task(follow(len(requests) * size))
        started = time.perf_counter()
        for number, request in enumerate(requests):
            await asyncio.sleep(max(started + number * size / 5_000 - time.perf_counter(), 0))
            await record(request)
            acknowledged.append((time.perf_counter(), (number + 1) * size))
        await asyncio.wait_for(following, 60)
    late = quantiles(lags, n=100)[98]
    yield Result("metrics.lag_p99_ms", round(late, 1), "ms", 1_000, late / 1_000, "at most 1")


async def count_at_full_speed() -> AsyncIterator[Result]:
    """Counting beside recording, both as fast as they go, from the first call to the last count."""
    size, number, rounds = 5_000, 40, []
    async with bench("activity", "metrics") as at, calls(at) as (record, usage):
        total = 0
        for _ in range(3):
            requests = [entries(size) for _ in range(number)]
            started = time.perf_counter()
            await side_by_side(3, record, requests)
            recorded = time.perf_counter() - started
            total += size * number
            while await usage() < total:
                await asyncio.sleep(0.005)
            counted = time.perf_counter() - started
            rounds.append((size * number / counted, size * number / recorded))
    yield ratio_of("metrics.count_vs_record", "activities/s", "at least 0.9", rounds)


@asynccontextmanager
async def calls(at: Bench) -> AsyncIterator[tuple[Call, Callable[[], Awaitable[int]]]]:
    """Yield two functions: one records a batch, one reads the total of the tenant's last days."""
    async with (
        grpc.aio.insecure_channel(at.stack.addresses["activity"]) as activity,
        grpc.aio.insecure_channel(at.stack.addresses["metrics"]) as metrics,
    ):
        recording = activity_api.ActivityServiceStub(activity)
        reading = metrics_api.MetricsServiceStub(metrics)
        today = utc_now().date()
        span = pb.GetUsageRequest(
            start_date=(today - timedelta(days=2)).isoformat(),
            end_date=(today + timedelta(days=1)).isoformat(),
            grain=pb.USAGE_GRAIN_MONTH,
        )

        async def record(activities: list[activity_pb.NewActivity]) -> None:
            request = activity_pb.RecordActivitiesRequest(activities=activities)
            await recording.RecordActivities(request, metadata=at.metadata)

        async def usage() -> int:
            response = await reading.GetUsage(span, metadata=at.metadata)
            return sum(each.count for each in response.periods)

        yield record, usage


async def reconcile_a_day() -> AsyncIterator[Result]:
    """Reconciling a day of a million entries that is right, against its bare digest in SQL."""
    day, rounds = utc_now().date() - timedelta(days=1), []
    async with bench("activity") as at:
        await at.database.execute("select activity.ensure_partitions($1, $1)", day)
        await at.database.execute(ADD_ENTRIES, at.tenant_id, day, 1_000_000, USERS, timeout=600)
        await at.database.execute("vacuum analyze activity.activity_log")
        await at.database.execute(ADD_QUARTER_HOURS, timeout=600)
        await at.database.execute(ADD_DAYS, timeout=600)
        await at.database.execute(ADD_DAILY_TOTALS)
        await at.database.execute("vacuum analyze metrics.usage_metrics_quarter_hours")
        pool = await open_pool(at.stack.postgres.dsn("metrics_app"), schema="metrics", size=4)
        channel = RereadingChannel(at.stack.addresses["activity"], PemFiles("activity"))
        log = ActivityLog(channel, at.stack.folder / "activity-audit-token")
        rebuilder = Rebuilder(
            pool, log, partial(events.wait_applied, at.nats), partial(dead_letters, at.nats)
        )
        app = await asyncpg.connect(at.stack.postgres.dsn("activity_app"))
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            await app.fetch("select * from activity.day_digests($1)", day, timeout=60)
            bare = time.perf_counter()
            outcomes = await reconcile(rebuilder, day)
            rounds.append(((time.perf_counter() - bare) * 1_000, (bare - started) * 1_000))
            if outcomes != {"equal": 1, "repaired": 0, "moving": 0}:
                raise RuntimeError(f"the day is not what it should be: {outcomes}")
        await app.close()
        await log.close()
        await pool.close()
    yield ratio_of("metrics.reconcile_vs_sql", "ms", "at most 1.2", rounds[1:])


async def read() -> AsyncIterator[Result]:
    """GetUsage of 30 days by day, its 99th percentile against an empty call's."""
    count, rounds = 500, []
    today = utc_now().date()
    request = pb.GetUsageRequest(
        start_date=(today - timedelta(days=29)).isoformat(),
        end_date=today.isoformat(),
        grain=pb.USAGE_GRAIN_DAY,
    )
    async with bench("metrics") as at, empty_server() as empty:
        await at.database.execute(ADD_DAYS_OF_USERS, at.tenant_id, today, USERS)
        await at.database.execute(ADD_DAILY_TOTALS)
        await at.database.execute("vacuum analyze metrics.usage_metrics_daily_totals")
        async with grpc.aio.insecure_channel(at.stack.addresses["metrics"]) as channel:
            stub = metrics_api.MetricsServiceStub(channel)
            for _ in range(ROUNDS + 1):
                bare = await times(partial(empty, metadata=at.metadata), request, count)
                through = await times(partial(stub.GetUsage, metadata=at.metadata), request, count)
                rounds.append((quantiles(through, n=100)[98], quantiles(bare, n=100)[98]))
    yield ratio_of("metrics.read_vs_empty_rpc", "ms", "at most 3", rounds[1:])


async def times(call: Call, request: pb.GetUsageRequest, count: int) -> list[float]:
    """Call one after the other; return the milliseconds of each."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        await call(request)
        taken.append((time.perf_counter() - started) * 1_000)
    return taken


BENCHMARKS: tuple[Benchmark, ...] = (apply, lag, count_at_full_speed, reconcile_a_day, read)
