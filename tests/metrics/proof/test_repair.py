"""Repair: what is wrong becomes right, what is right stays so, and one tenant stops no other."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.clock import to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.transient import RetryLater
from services.metrics import store
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.rebuild import LogDigest, Rebuilder
from services.metrics.proof.reconcile import NotReconciled, reconcile
from services.metrics.sql import SQL
from services.metrics.store import Digest
from tests.harness import Database, Identity
from tests.metrics.calls import (
    AUDIT,
    DAY,
    USERS,
    record,
    set_zone,
    some_activities,
    usage,
    usage_of,
    verify,
)
from tests.metrics.conftest import Pair
from tests.metrics.feed import all_applied, batch, counted, no_dead_letters, rollup

metrics_pool = pytest.mark.parametrize("pool", ["metrics"], indirect=True)


@metrics_pool
@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Atlantic/Azores", date(2026, 10, 25)),  # its clock shows 0:00 twice
        ("America/Havana", date(2026, 11, 1)),  # so does this one's
        ("Africa/Cairo", date(2026, 4, 24)),  # and this one's never
        ("Pacific/Kiritimati", date(2026, 10, 25)),
        ("Pacific/Pago_Pago", date(2026, 10, 25)),
    ],
)
async def test_days_beside_a_midnight_that_comes_twice_are_counted_anew_as_they_were(
    database: Database, pool: Pool, zone: str, day: date
) -> None:
    tenant_id, start = uuid.uuid4(), datetime(day.year, day.month, day.day, tzinfo=UTC)
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(SQL.set_time_zone, tenant_id, zone)
    moments = [start + timedelta(minutes=15 * quarter) for quarter in range(-300, 400)]
    await counted(pool, tenant_id, [batch(tenant_id, moments)])
    right = await rollup(database, tenant_id)
    for first in range(-3, 3):
        for length in range(3):
            async with tenant_transaction(pool, tenant_id) as connection:
                begin = day + timedelta(days=first)
                end = begin + timedelta(days=length)
                await store.recount_days(connection, tenant_id, begin, end)
            assert await rollup(database, tenant_id) == right


class RefusingLog:
    """A log that fails where it is asked for the counts of one tenant."""

    def __init__(self, log: ActivityLog, tenant_id: UUID, error: Exception) -> None:
        self._log = log
        self._tenant_id = tenant_id
        self._error = error

    async def day_digests(self, day: date) -> dict[UUID, LogDigest] | None:
        """Answer as the log does."""
        return await self._log.day_digests(day)

    async def count_day(
        self, tenant_id: UUID, day: date
    ) -> AsyncGenerator[Sequence[activity_pb.ActionCount]]:
        """Answer as the log does, but for the one."""
        if tenant_id == self._tenant_id:
            raise self._error
        async for counts in self._log.count_day(tenant_id, day):
            yield counts


@metrics_pool
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("a bug"), NotReconciled),
        (TimeoutError("a statement of a minute"), NotReconciled),
        (RetryLater("away"), RetryLater),
        (ConnectionResetError("away"), ConnectionResetError),
    ],
)
async def test_a_tenant_whose_day_cannot_be_repaired_stops_no_other(
    pair: Pair, ours: Identity, theirs: Identity, pool: Pool, log: ActivityLog,
    database: Database, error: Exception, raised: Any,
) -> None:  # fmt: skip
    first, second = sorted((ours, theirs), key=lambda each: each.tenant_id)
    for who in (first, second):
        await record(pair, who, some_activities(30))
        right = await usage_of(pair, who, 30)
    await database.fetch("update metrics.usage_metrics_quarter_hours set digest = digest + 1")
    await database.fetch("delete from metrics.usage_metrics_daily")
    rebuilder = Rebuilder(
        pool, RefusingLog(log, first.tenant_id, error), all_applied, no_dead_letters
    )
    with pytest.raises(raised):
        await reconcile(rebuilder, date.fromisoformat(DAY))
    assert await usage(pair, second) == right
    assert await usage(pair, first) == []


@metrics_pool
async def test_days_are_not_counted_from_quarters_whose_counters_are_not_the_logs(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, database: Database
) -> None:
    await record(pair, ours, some_activities(200))
    right = await usage_of(pair, ours, 200)
    await database.fetch(
        "update metrics.usage_metrics_quarter_hours set total_logins = total_logins + 1,"
        " profiles_enriched = profiles_enriched - 1 where profiles_enriched > 0"
    )
    await reconcile(Rebuilder(pool, log, all_applied, no_dead_letters), date.fromisoformat(DAY))
    assert await usage(pair, ours) == right
    (noted,) = await database.fetch("select outcome, findings from metrics.reconciliations")
    assert noted["outcome"] == "repaired"
    assert "the digest is right, so a counter was written past the service" in noted["findings"]
    assert await verify(pair, ours, thorough=True) == []


MANY = 30_000
LARGE_DAY = """
insert into activity.activity_log (tenant_id, activity_id, user_id, action_type, created_at)
select $1, gen_random_uuid(), ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, a,
  $2::date::timestamp at time zone 'UTC' + (n % 96) * interval '15 minutes'
from generate_series(1, 30000) n cross join unnest(array['login', 'note_added', 'csv_exported']) a
"""


@metrics_pool
async def test_a_day_of_more_counts_than_a_message_holds_is_named_repaired_and_proven(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, database: Database
) -> None:
    day = date.fromisoformat(DAY)
    await database.fetch("select activity.ensure_partitions($1, $1)", day)
    await database.fetch(LARGE_DAY, ours.tenant_id, day)
    request = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY)
    call = pair.metrics.VerifyUsage(request, metadata=ours.metadata(AUDIT))
    told = [response async for response in call]
    users = [finding.user_id for response in told for finding in response.findings]
    assert users == sorted(set(users))
    assert len(users) == MANY
    assert max(len(each.findings) for each in told) == 1_000
    assert [each.more for each in told] == [True] * (len(told) - 1) + [False]
    assert told[-1].activity_count == 3 * MANY
    await reconcile(Rebuilder(pool, log, all_applied, no_dead_letters), day)
    (found,) = await database.fetch(
        "select sum(total_activities) as counted, count(*) as users"
        " from metrics.usage_metrics_daily"
    )
    assert (found["counted"], found["users"]) == (3 * MANY, MANY)
    assert await verify(pair, ours, thorough=True) == []


class ExpiredLog:
    """A log that does not reach back any more: of one tenant, or at all."""

    def __init__(self, tenant_id: UUID | None) -> None:
        self._tenant_id = tenant_id

    async def day_digests(self, day: date) -> dict[UUID, LogDigest] | None:
        """Tell that the day has expired."""
        del day
        return {self._tenant_id: LogDigest(Digest(), expired=True)} if self._tenant_id else None

    async def count_day(
        self, tenant_id: UUID, day: date
    ) -> AsyncGenerator[Sequence[activity_pb.ActionCount]]:
        """Have nothing."""
        raise AssertionError((tenant_id, day))
        yield


@metrics_pool
@pytest.mark.parametrize("whole", [True, False], ids=["of the whole log", "of the tenant"])
async def test_an_uneven_day_that_the_log_does_not_keep_is_counted_from_its_quarters(
    pool: Pool, database: Database, whole: bool
) -> None:
    tenant_id, day = uuid.uuid4(), date(2026, 3, 10)
    start = datetime(2026, 3, 10, tzinfo=UTC)
    await counted(pool, tenant_id, [batch(tenant_id, [start + timedelta(hours=n)])
                                    for n in range(20)])  # fmt: skip
    right = await rollup(database, tenant_id)
    await database.fetch("delete from metrics.usage_metrics_daily")
    await database.fetch(
        "update metrics.usage_metrics_daily_totals set total_logins = total_logins + 77,"
        " notes_added = notes_added - 77"
    )
    rebuilder = Rebuilder(
        pool, ExpiredLog(None if whole else tenant_id), all_applied, no_dead_letters
    )
    assert (await reconcile(rebuilder, day))["repaired"] == 1
    assert await rollup(database, tenant_id) == right
    assert (await reconcile(rebuilder, day))["repaired"] == 0


@metrics_pool
@pytest.mark.parametrize(
    "damage", ["update metrics.quota_usage set used = used + 7", "delete from metrics.quota_usage"]
)
async def test_what_is_used_of_quotas_is_made_the_sum_of_the_days(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, database: Database, damage: str
) -> None:
    quota = pb.Quota(
        counter=pb.COUNTER_TOTAL_ACTIVITIES, period=pb.QUOTA_PERIOD_MONTH, soft_limit=1_000
    )
    await pair.metrics.SetQuota(pb.SetQuotaRequest(quota=quota), metadata=ours.metadata())
    await record(pair, ours, some_activities(40))
    await usage_of(pair, ours, 40)
    await database.fetch(damage)
    rebuilder, day = Rebuilder(pool, log, all_applied, no_dead_letters), date.fromisoformat(DAY)
    assert (await reconcile(rebuilder, day))["repaired"] == 1
    rows = await database.fetch("select used from metrics.quota_usage")
    assert [row["used"] for row in rows] == [40]
    assert (await reconcile(rebuilder, day))["equal"] == 1


@metrics_pool
async def test_a_local_day_is_compared_with_the_log_of_the_utc_day_that_it_begins_on(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, database: Database
) -> None:
    await set_zone(pair, ours, "Asia/Tokyo")
    day = date.fromisoformat(DAY)
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=9)
    moments = [begin + timedelta(hours=n) for n in range(24)]
    entries = [
        activity_pb.NewActivity(
            user_id=USERS[n % 3], action_type=1 + n % 2, created_at=to_timestamp(moment)  # type: ignore[arg-type]
        )
        for n, moment in enumerate(moments)
    ]  # fmt: skip
    await record(pair, ours, entries)
    right = await usage_of(pair, ours, 24)
    await database.fetch(
        "update metrics.usage_metrics_quarter_hours set total_logins = 0, searches_executed = 1"
        " where total_logins = 1 and quarter_hour < $1",
        begin + timedelta(hours=9),
    )
    await reconcile(Rebuilder(pool, log, all_applied, no_dead_letters), day)
    assert await usage(pair, ours) == right
    assert await verify(pair, ours, thorough=True) == []
