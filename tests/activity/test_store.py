"""Recording in one round trip: a transaction of its own, under the tenant that it names."""

from __future__ import annotations

import uuid

import asyncpg
import pytest

from chassis.clock import new_id, utc_now
from chassis.database import Pool
from services.activity import store
from services.activity.batch import Columns, one
from tests.harness import Database

WRITTEN = """
select (select count(*) from activity.activity_log) as entries,
  (select count(*) from activity.batches) as batches,
  (select count(*) from activity.outbox) as events
"""


def an_entry() -> Columns:
    return one(new_id(), uuid.uuid4(), "login", "", "{}", utc_now())


async def test_entries_leaves_and_event_are_written_together(
    pool: Pool, database: Database
) -> None:
    tenant_id, columns = uuid.uuid4(), an_entry()
    columns.extend(an_entry())
    assert (await store.record_new(pool, tenant_id, columns)).added_count == 2
    rows = await database.fetch("select distinct tenant_id from activity.activity_log")
    assert [row["tenant_id"] for row in rows] == [tenant_id]
    assert [tuple(row) for row in await database.fetch(WRITTEN)] == [(2, 1, 1)]


async def test_where_one_key_is_taken_nothing_is_written(pool: Pool, database: Database) -> None:
    tenant_id, taken = uuid.uuid4(), an_entry()
    await store.record_new(pool, tenant_id, taken)
    columns = an_entry()
    columns.extend(taken)
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.record_new(pool, tenant_id, columns)
    assert [tuple(row) for row in await database.fetch(WRITTEN)] == [(1, 1, 1)]


async def test_a_pooled_connection_carries_no_tenant_over(pool: Pool) -> None:
    await store.record_new(pool, uuid.uuid4(), an_entry())
    assert not await pool.fetchval("select current_setting('app.current_tenant_id', true)")
    assert not await pool.fetchval("select count(*) from activity.activity_log")


async def test_what_one_tenant_has_taken_is_free_for_another(
    pool: Pool, database: Database
) -> None:
    columns = an_entry()
    for tenant_id in (uuid.uuid4(), uuid.uuid4()):
        await store.record_new(pool, tenant_id, columns)
    assert [tuple(row) for row in await database.fetch(WRITTEN)] == [(2, 2, 2)]
