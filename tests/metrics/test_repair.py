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

from chassis.database import Pool, tenant_transaction
from chassis.errors import DependencyAwayError
from services.metrics import store
from services.metrics.activity_log import ActivityLog
from services.metrics.rebuilding import LogDigest, Rebuilder
from services.metrics.reconcile import UnsettledError, reconcile
from services.metrics.store import SQL
from tests.harness import Database, Identity
from tests.metrics.conftest import Pair
from tests.metrics.feed import batch, counted
from tests.metrics.test_counting import rollup
from tests.metrics.test_moving import all_applied
from tests.metrics.test_settings import AUDIT, verify
from tests.metrics.test_usage import DAY, record, some_activities, usage, usage_of

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
    [(ValueError("a bug"), UnsettledError), (DependencyAwayError("away"), DependencyAwayError)],
)
async def test_a_tenant_whose_day_cannot_be_settled_stops_no_other(
    pair: Pair, ours: Identity, theirs: Identity, pool: Pool, log: ActivityLog,
    database: Database, error: Exception, raised: Any,
) -> None:  # fmt: skip
    first, second = sorted((ours, theirs), key=lambda each: each.tenant_id)
    for who in (first, second):
        await record(pair, who, some_activities(30))
        right = await usage_of(pair, who, 30)
    await database.fetch("update metrics.usage_metrics_quarter_hours set digest = digest + 1")
    await database.fetch("delete from metrics.usage_metrics_daily")
    rebuilder = Rebuilder(pool, RefusingLog(log, first.tenant_id, error), all_applied)
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
    await reconcile(Rebuilder(pool, log, all_applied), date.fromisoformat(DAY))
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
    await reconcile(Rebuilder(pool, log, all_applied), day)
    (found,) = await database.fetch(
        "select sum(total_activities) as counted, count(*) as users"
        " from metrics.usage_metrics_daily"
    )
    assert (found["counted"], found["users"]) == (3 * MANY, MANY)
    assert await verify(pair, ours, thorough=True) == []
