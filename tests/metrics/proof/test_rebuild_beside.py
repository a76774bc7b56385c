"""A rebuild of past days and counting run side by side: neither stops the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from functools import partial
from uuid import UUID

import asyncpg
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.clock import to_timestamp, utc_now
from chassis.database import Pool
from services.metrics import events
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.rebuild import LogDigest, Rebuilder
from services.metrics.store import Digest
from tests.harness import Database, Identity
from tests.metrics.calls import AUDIT, DAY, USERS, record, some_activities, usage, usage_of, verify
from tests.metrics.conftest import Pair
from tests.metrics.feed import no_dead_letters

metrics_pool = pytest.mark.parametrize("pool", ["metrics"], indirect=True)
PAST = date.fromisoformat(DAY)
HOLD = "select from metrics.usage_metrics_quarter_hours where tenant_id = $1 for update"
SWAPPING = """
select from pg_locks where locktype = 'advisory' and objsubid = 1 and mode = 'ExclusiveLock'
and granted and database = (select oid from pg_database where datname = current_database())
"""
SOON = 30  # seconds in which what is not stopped is done, on a busy machine too


class HeldLog:
    """A log whose counts of a day are long in coming: until they are let go."""

    def __init__(self, log: ActivityLog) -> None:
        self._log = log
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()

    async def day_digests(self, day: date) -> dict[UUID, LogDigest] | None:
        """Answer as the log does."""
        return await self._log.day_digests(day)

    async def count_day(
        self, tenant_id: UUID, day: date
    ) -> AsyncGenerator[Sequence[activity_pb.ActionCount]]:
        """Answer as the log does, but late."""
        pieces = [counts async for counts in self._log.count_day(tenant_id, day)]
        self.asked.set()
        await self.let_go.wait()
        for counts in pieces:
            yield counts


@asynccontextmanager
async def rebuilding(
    rebuilder: Rebuilder, who: Identity, log: HeldLog
) -> AsyncIterator[asyncio.Task[int]]:
    """Rebuild the past day, held while it reads the log for as long as the block runs."""

    async def rebuild() -> int:
        return (await rebuilder.rebuild(who.tenant_id, [PAST])).activities

    task = asyncio.create_task(rebuild())
    async with asyncio.timeout(SOON):
        await log.asked.wait()
    try:
        yield task
    finally:
        log.let_go.set()
        await task


def held(pool: Pool, log: ActivityLog, nats: Client) -> tuple[HeldLog, Rebuilder]:
    """Return a log that can be held, and what rebuilds from it."""
    slow = HeldLog(log)
    return slow, Rebuilder(pool, slow, partial(events.wait_applied, nats), no_dead_letters)


async def record_now(pair: Pair, who: Identity, number: int) -> None:
    """Record logins of this moment."""
    now = to_timestamp(utc_now())
    login = activity_pb.ACTION_TYPE_LOGIN
    await record(
        pair,
        who,
        [
            activity_pb.NewActivity(user_id=USERS[0], action_type=login, created_at=now)
            for _ in range(number)
        ],
    )


async def counted_since(pair: Pair, who: Identity, day: date, number: int) -> None:
    """Wait until so many are counted from a day on."""
    span = {"start_date": day.isoformat(), "end_date": (day + timedelta(days=2)).isoformat()}
    async with asyncio.timeout(SOON):
        while sum(row.total_activities for row in await usage(pair, who, **span)) != number:
            await asyncio.sleep(0.02)


@metrics_pool
async def test_other_days_are_counted_while_a_rebuild_reads_the_log(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, nats: Client
) -> None:
    await record(pair, ours, some_activities(40))
    right = await usage_of(pair, ours, 40)
    slow, rebuilder = held(pool, log, nats)
    async with rebuilding(rebuilder, ours, slow) as task:
        await record_now(pair, ours, 30)
        await counted_since(pair, ours, PAST + timedelta(days=1), 30)
        assert not task.done()
    assert task.result() == 40
    assert await usage(pair, ours) == right


@metrics_pool
async def test_the_day_itself_is_counted_while_a_rebuild_reads_the_log_which_then_takes_it_in(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, nats: Client
) -> None:
    await record(pair, ours, some_activities(40))
    await usage_of(pair, ours, 40)
    slow, rebuilder = held(pool, log, nats)
    async with rebuilding(rebuilder, ours, slow) as task:
        await record(pair, ours, some_activities(20, seed=2))
        right = await usage_of(pair, ours, 60)
        assert not task.done()
    assert task.result() == 60
    assert await usage(pair, ours) == right
    assert await verify(pair, ours, thorough=True) == []


@asynccontextmanager
async def swap_held(database: Database, tenant_id: UUID) -> AsyncIterator[None]:
    """Hold the tenant's rows, so that a swap cannot end while the block runs."""
    connection = await asyncpg.connect(database.dsn())
    try:
        async with connection.transaction():
            await connection.execute(HOLD, tenant_id)
            yield
    finally:
        await connection.close()


async def swap_begun(database: Database) -> None:
    """Wait until a swap keeps others from counting."""
    async with asyncio.timeout(SOON):
        while not await database.fetch(SWAPPING):
            await asyncio.sleep(0.02)


@metrics_pool
async def test_counting_waits_for_the_swap_of_its_own_tenant_and_no_longer(
    pair: Pair, ours: Identity, theirs: Identity, pool: Pool, log: ActivityLog,
    nats: Client, database: Database,
) -> None:  # fmt: skip
    await record(pair, ours, some_activities(40))
    await usage_of(pair, ours, 40)
    rebuilder = Rebuilder(pool, log, partial(events.wait_applied, nats), no_dead_letters)
    async with swap_held(database, ours.tenant_id):
        rebuild = asyncio.create_task(rebuilder.rebuild(ours.tenant_id, [PAST]))
        await swap_begun(database)
        await asyncio.wait_for(record_and_count(pair, theirs), SOON)
        await record_now(pair, ours, 5)
        await asyncio.sleep(0.3)
        assert sum(row.total_activities for row in await usage(pair, ours)) == 40
        assert not rebuild.done()
    await counted_since(pair, ours, PAST, 45)
    assert (await rebuild).activities == 40
    assert await verify(pair, ours, thorough=True) == []


async def record_and_count(pair: Pair, who: Identity) -> None:
    """Record and wait until it is counted."""
    await record(pair, who, some_activities(10))
    await usage_of(pair, who, 10)


async def test_rebuilds_of_past_days_go_through_while_others_record_today(
    pair: Pair, ours: Identity
) -> None:
    await record(pair, ours, some_activities(100))
    right = await usage_of(pair, ours, 100)
    first = (PAST - timedelta(days=2)).isoformat()
    request = pb.RebuildUsageRequest(
        tenant_id=str(ours.tenant_id), start_date=first, end_date=PAST.isoformat()
    )
    working = [asyncio.create_task(record_on(pair, ours)) for _ in range(4)]
    for _ in range(5):
        done = await pair.metrics.RebuildUsage(request, metadata=ours.metadata(AUDIT))
        assert (done.rebuilt_days, done.activity_count) == (3, 100)
        assert await usage(pair, ours) == right
    for each in working:
        each.cancel()
    batches = [each for each in await asyncio.gather(*working) if each]
    await counted_since(pair, ours, PAST, 100 + 10 * sum(batches))


async def record_on(pair: Pair, who: Identity) -> int:
    """Record one batch after the other until cancelled; return how many were."""
    batches = 0
    while True:
        recording = asyncio.ensure_future(record_now(pair, who, 10))
        try:
            await asyncio.shield(recording)
        except asyncio.CancelledError:
            await recording
            return batches + 1
        batches += 1


WAITED = LogDigest(Digest(), unpublished_events=3, first_unpublished=4, last_unpublished=9)


@pytest.mark.parametrize(
    ("later", "published"),
    [
        (LogDigest(Digest()), True),
        (LogDigest(Digest(), 2, first_unpublished=10, last_unpublished=11), True),
        (LogDigest(Digest(), 2, first_unpublished=9, last_unpublished=11), False),
        (LogDigest(Digest(), 2), False),  # from a replica that does not tell places yet
        (None, False),
    ],
)
def test_what_waited_is_published_once_only_later_events_wait(
    later: LogDigest | None, published: bool
) -> None:
    assert WAITED.is_published(later) is published
