"""Months of the log: made while it is read, and made as the log says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import to_timestamp, utc_now
from tests.activity.recording.test_record_batch import an_activity
from tests.harness import Database, Identity

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub


@asynccontextmanager
async def a_long_reader(database: Database) -> AsyncIterator[None]:
    """Hold what an export holds: a transaction that has read the log."""
    connection = await asyncpg.connect(database.dsn("activity_app"))
    reading = connection.transaction()
    await reading.start()
    await connection.fetch("select count(*) from activity.activity_log")
    try:
        yield
    finally:
        await reading.rollback()
        await connection.close()


async def record_at(
    activity: ActivityServiceAsyncStub, who: Identity, days_ago: int
) -> pb.RecordActivitiesResponse:
    """Record an entry of so many days ago."""
    entry = an_activity(created_at=to_timestamp(utc_now() - timedelta(days=days_ago)))
    request = pb.RecordActivitiesRequest(activities=[entry])
    return await activity.RecordActivities(request, metadata=who.metadata())


async def test_a_late_entry_makes_its_month_while_the_log_is_read_and_nobody_waits(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity, database: Database
) -> None:
    async with a_long_reader(database), asyncio.timeout(30):
        late, now = await asyncio.gather(
            record_at(activity, ours, 200), record_at(activity, theirs, 0)
        )
    assert (late.recorded_count, now.recorded_count) == (1, 1)


async def test_a_month_that_cannot_be_made_soon_is_given_up(database: Database) -> None:
    connection = await asyncpg.connect(database.dsn("activity_app"))
    other = await asyncpg.connect(database.dsn("activity_owner"))
    locking = other.transaction()
    await locking.start()
    await other.execute("lock table activity.activity_log in share update exclusive mode")
    try:
        async with asyncio.timeout(10):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.fetchval(
                    "select activity.ensure_partitions('2020-01-01', '2020-01-01')"
                )
    finally:
        await locking.rollback()
        await asyncio.gather(connection.close(), other.close())


ALIKE = """
select (select array_agg((a.attname, a.atttypid, a.attnotnull, a.attstorage, a.attcompression,
      pg_get_expr(d.adbin, d.adrelid))::text order by a.attname)
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped) as columns,
  (select array_agg(replace(pg_get_constraintdef(k.oid), ' NOT VALID', ''))
    from pg_constraint k where k.conrelid = t.oid and k.contype in ('c', 'p')) as constraints,
  (select count(*) from pg_index i where i.indrelid = t.oid and i.indisvalid) as indexes,
  t.relrowsecurity and t.relforcerowsecurity as secured
from pg_class t where t.oid = $1::text::regclass
"""


async def test_a_month_has_all_that_the_log_has_and_gives_nobody_a_way_in(
    database: Database,
) -> None:
    await database.fetch("select activity.ensure_partitions('2020-01-01', '2020-01-01')")
    (log,) = await database.fetch(ALIKE, "activity.activity_log")
    (month,) = await database.fetch(ALIKE, "activity.activity_log_2020_01")
    assert month["columns"] == log["columns"]
    assert set(month["constraints"]) == set(log["constraints"])
    assert month["indexes"] == log["indexes"] == 5
    assert month["secured"]
    (ways,) = await database.fetch(
        "select relacl, (select count(*) from pg_policy where polrelid = c.oid) as policies,"
        " pg_get_userbyid(relowner) as owner from pg_class c"
        " where oid = 'activity.activity_log_2020_01'::regclass"
    )
    assert (ways["relacl"], ways["policies"], ways["owner"]) == (None, 0, "activity_owner")
