"""Retention and partitions: what is kept, what goes, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import to_timestamp, utc_now
from chassis.database import Pool
from services.activity.months.drop_expired import MaintenanceError, drop_expired_months
from services.activity.months.partitions import Partitions
from services.activity.retention import keeper as retention_keeper
from services.activity.retention.keeper import Keeper
from tests.activity.recording.test_record_batch import an_activity
from tests.harness import Database, Identity, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

pytestmark = pytest.mark.usefixtures("no_months")  # these tests have a time of their own
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
async def keeper(pool: Pool, nats: Client) -> Keeper:
    """A keeper at a fixed time."""
    return Keeper(pool, nats, Partitions(pool, lambda: NOW), lambda: NOW, asyncio.Event())


async def fill(database: Database, tenant_id: uuid.UUID, *days_ago: int) -> None:
    """Put an entry of so many days ago for each number."""
    for days in days_ago:
        moment = NOW - timedelta(days=days)
        await database.fetch("select activity.ensure_partitions($1, $1)", moment.date())
        await database.fetch(
            "insert into activity.activity_log (tenant_id, activity_id, user_id, action_type,"
            " created_at) values ($1, gen_random_uuid(), gen_random_uuid(), 'login', $2)",
            tenant_id,
            moment,
        )


async def kept(database: Database, tenant_id: uuid.UUID) -> list[int]:
    """Return how many days ago the entries of a tenant happened."""
    rows = await database.fetch(
        "select created_at from activity.activity_log where tenant_id = $1 order by 1 desc",
        tenant_id,
    )
    return [(NOW - row["created_at"]).days for row in rows]


async def months(database: Database) -> list[str]:
    """Return the months that the log has."""
    rows = await database.fetch("select month from activity.partitions()")
    return [f"{row['month']:%Y-%m}" for row in rows]


async def test_this_month_and_the_next_three_are_made_ahead(
    keeper: Keeper, database: Database
) -> None:
    await keeper.keep(asyncio.Event())
    assert await months(database) == ["2026-11", "2026-12", "2027-01", "2027-02"]


async def test_entries_older_than_a_tenant_keeps_them_are_deleted_and_no_others(
    keeper: Keeper, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_keeper, "DELETE_ROWS", 2)
    short, whole = uuid.uuid4(), uuid.uuid4()
    ages = (0, 29, 30, 31, 32, 40, 60, 90)
    await fill(database, short, *ages)
    await fill(database, whole, *ages)
    await database.fetch("insert into activity.retention values ($1, 30)", short)
    await keeper.keep(asyncio.Event())
    assert await kept(database, short) == [0, 29, 30]
    assert await kept(database, whole) == list(ages)


async def test_one_keeper_works_at_a_time(keeper: Keeper, database: Database, pool: Pool) -> None:
    async with pool.acquire() as other, other.transaction():
        await other.fetchval("select pg_try_advisory_xact_lock(hashtext('activity.keeping'))")
        await keeper.keep(asyncio.Event())
        assert await months(database) == []
    await keeper.keep(asyncio.Event())
    assert await months(database) != []


async def test_answers_to_old_requests_are_forgotten(keeper: Keeper, database: Database) -> None:
    for days in (1, 8):
        await database.fetch(
            "insert into activity.requests values ($1, $1, '', '', $2)",
            uuid.uuid4(),
            NOW - timedelta(days=days),
        )
    await keeper.keep(asyncio.Event())
    rows = await database.fetch("select answered_at from activity.requests")
    assert [row["answered_at"] for row in rows] == [NOW - timedelta(days=1)]


async def test_months_that_end_before_the_first_day_kept_are_dropped(database: Database) -> None:
    await database.fetch("select activity.ensure_partitions('2026-06-01', '2026-11-01')")
    dropped = await drop_expired_months(database.dsn("activity_owner"), date(2026, 9, 1))
    assert dropped == ["2026-06", "2026-07", "2026-08"]
    assert await months(database) == ["2026-09", "2026-10", "2026-11"]


async def test_a_dry_run_drops_nothing(database: Database) -> None:
    await database.fetch("select activity.ensure_partitions('2026-06-01', '2026-06-01')")
    dsn = database.dsn("activity_owner")
    assert await drop_expired_months(dsn, date(2026, 9, 1), dry_run=True) == ["2026-06"]
    assert await months(database) == ["2026-06"]


async def test_a_month_that_a_reader_uses_is_dropped_when_the_reader_is_done_and_blocks_none(
    database: Database, pool: Pool
) -> None:
    tenant_id = uuid.uuid4()
    await fill(database, tenant_id, 0, 100)
    async with pool.acquire() as reader:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("select count(*) from activity.activity_log")
        dropping = asyncio.create_task(
            drop_expired_months(database.dsn("activity_owner"), date(2026, 11, 1))
        )
        await wait_until_detach_waits(database)
        assert len(await kept(database, tenant_id)) >= 1  # reads go on
        await fill(database, tenant_id, 1, 50)  # and so do writes, into a new month as well
        assert not dropping.done()
        await reading.rollback()
    assert await dropping == ["2026-08"]
    assert await kept(database, tenant_id) == [0, 1, 50]


async def wait_until_detach_waits(database: Database) -> None:
    """Return when the detachment waits for the reader."""
    async with asyncio.timeout(30):
        while not await database.fetch(
            "select 1 from pg_stat_activity where query like 'alter table%concurrently'"
            " and wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.02)


async def test_a_detachment_that_was_broken_off_is_finished(database: Database, pool: Pool) -> None:
    await fill(database, uuid.uuid4(), 100)
    dsn = database.dsn("activity_owner")
    async with pool.acquire() as reader:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("select count(*) from activity.activity_log")
        dropping = asyncio.create_task(drop_expired_months(dsn, date(2026, 11, 1)))
        await wait_until_detach_waits(database)
        await database.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where query like 'alter table%concurrently'"
        )
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await dropping
        await reading.rollback()
    assert await drop_expired_months(dsn, date(2026, 11, 1)) == ["2026-08"]


async def test_two_maintenances_do_not_run_at_once(database: Database) -> None:
    connection = await asyncpg.connect(database.dsn("activity_owner"))
    await connection.fetchval("select pg_advisory_lock(hashtext('activity.maintenance'))")
    with pytest.raises(MaintenanceError, match="elsewhere"):
        await drop_expired_months(database.dsn("activity_owner"), date(2026, 9, 1))
    await connection.close()


async def test_the_services_own_role_cannot_drop_a_month(database: Database) -> None:
    await database.fetch("select activity.ensure_partitions('2026-06-01', '2026-06-01')")
    with pytest.raises(MaintenanceError, match="activity_owner"):
        await drop_expired_months(database.dsn("activity_app"), date(2026, 9, 1))


async def retention_of(
    activity: ActivityServiceAsyncStub, who: Identity
) -> pb.GetRetentionResponse:
    """Return how long a tenant's log is kept."""
    return await activity.GetRetention(pb.GetRetentionRequest(), metadata=who.metadata())


async def test_a_tenant_sets_its_own_retention_and_goes_back_to_the_whole_logs(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    for days in (30, 60):
        request = pb.UpdateRetentionRequest(retention_days=days)
        await activity.UpdateRetention(request, metadata=ours.metadata())
    assert await retention_of(activity, ours) == pb.GetRetentionResponse(retention_days=60)
    whole = pb.GetRetentionResponse(retention_days=395, is_default=True)
    assert await retention_of(activity, theirs) == whole
    await activity.UpdateRetention(pb.UpdateRetentionRequest(), metadata=ours.metadata())
    assert await retention_of(activity, ours) == whole


@pytest.mark.parametrize(
    ("days", "rule"),
    [(396, "activity.within_retention"), (-1, "int32.gte_lte"), (4000, "int32.gte_lte")],
)
async def test_a_retention_that_cannot_be_kept_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity, days: int, rule: str
) -> None:
    request = pb.UpdateRetentionRequest(retention_days=days)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.UpdateRetention(request, metadata=ours.metadata())
    assert violations(refused.value) == [("retention_days", rule)]


async def test_the_partitions_are_described_with_what_is_made_and_dropped_next(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    now = utc_now()
    await database.fetch("select activity.ensure_partitions('2020-01-01', '2020-01-01')")
    request = pb.RecordActivitiesRequest(activities=[an_activity(created_at=to_timestamp(now))])
    await activity.RecordActivities(request, metadata=ours.metadata())
    audit = ours.metadata("activity:audit")
    described = await activity.ListPartitions(pb.ListPartitionsRequest(), metadata=audit)
    by_month = {each.month: each for each in described.partitions}
    assert by_month["2020-01"].droppable
    assert not by_month[f"{now:%Y-%m}"].droppable
    assert by_month[f"{now:%Y-%m}"].table_bytes > 0
    assert described.next_creation > max(by_month)
    assert described.next_creation_time.ToDatetime(UTC) > now


async def test_a_month_far_ahead_is_not_the_last_before_the_next_that_is_made(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    audit = ours.metadata("activity:audit")
    before = await activity.ListPartitions(pb.ListPartitionsRequest(), metadata=audit)
    await database.fetch("select activity.ensure_partitions('2099-05-01', '2099-05-01')")
    after = await activity.ListPartitions(pb.ListPartitionsRequest(), metadata=audit)
    assert after.next_creation == before.next_creation


async def test_a_day_that_a_tenant_does_not_keep_is_said_to_be_expired(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    request = pb.UpdateRetentionRequest(retention_days=10)
    await activity.UpdateRetention(request, metadata=ours.metadata())
    audit = ours.metadata("activity:audit")

    async def expired(days_ago: int) -> tuple[bool, list[str]]:
        day = (utc_now() - timedelta(days=days_ago)).date().isoformat()
        answer = await activity.ListDayDigests(pb.ListDayDigestsRequest(date=day), metadata=audit)
        return answer.expired, [each.tenant_id for each in answer.digests if each.expired]

    assert await expired(10) == (False, [])
    assert await expired(11) == (False, [str(ours.tenant_id)])
    assert await expired(400) == (True, [str(ours.tenant_id)])


async def test_a_day_whose_month_was_dropped_is_expired_however_long_the_log_is_kept_now(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    first_kept = (utc_now().date() - timedelta(days=60)).replace(day=1)
    await fill(database, ours.tenant_id, 150)
    assert await drop_expired_months(database.dsn("activity_owner"), first_kept)
    audit = ours.metadata("activity:audit")
    for day, expired in ((first_kept - timedelta(days=1), True), (first_kept, False)):
        request = pb.ListDayDigestsRequest(date=day.isoformat())
        assert (await activity.ListDayDigests(request, metadata=audit)).expired is expired
