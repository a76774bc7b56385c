"""One round trip to record or to read: a transaction by itself, under the tenant that it names."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg
import pytest

from chassis.clock import new_id, utc_now
from chassis.database import Plans, Pool, open_pool, read
from services.activity.entries.batch import Columns, one_entry
from services.activity.entries.filters import EARLIEST_MICROS, LATEST_MICROS, Filter
from services.activity.reading import store as reading_store
from services.activity.reading.store import Page
from services.activity.recording import store
from services.activity.sql import SQL
from tests.harness import Database

WRITTEN = """
select (select count(*) from activity.activity_log) as entries,
  (select count(*) from activity.batches) as batches,
  (select count(*) from activity.outbox) as events
"""
USER = uuid.uuid4()
ID = new_id()
EVERYTHING = Filter(user_ids=[str(USER)], action_types=["login"])
NEWEST = Page(EVERYTHING, None, 10, newest_first=True).values()
OLDEST = Page(EVERYTHING, None, 10, newest_first=False).values()
COUNT = "select count(*) from activity.activity_log"
READS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("list_newest", "list_newest_by_user", "list_newest_by_action"), NEWEST),
    **dict.fromkeys(("list_oldest", "list_oldest_by_user", "list_oldest_by_action"), OLDEST),
    "get": (EARLIEST_MICROS, LATEST_MICROS, ID),
}


def an_entry() -> Columns:
    return one_entry(new_id(), uuid.uuid4(), "login", "", "{}", utc_now())


async def test_entries_leaves_and_event_are_written_together(
    pool: Pool, database: Database
) -> None:
    tenant_id, columns = uuid.uuid4(), an_entry()
    columns.extend(an_entry())
    assert (await store.append_all_new(pool, tenant_id, columns)).added_count == 2
    rows = await database.fetch("select distinct tenant_id from activity.activity_log")
    assert [row["tenant_id"] for row in rows] == [tenant_id]
    assert [tuple(row) for row in await database.fetch(WRITTEN)] == [(2, 1, 1)]


async def test_where_one_key_is_taken_nothing_is_written(pool: Pool, database: Database) -> None:
    tenant_id, taken = uuid.uuid4(), an_entry()
    await store.append_all_new(pool, tenant_id, taken)
    columns = an_entry()
    columns.extend(taken)
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.append_all_new(pool, tenant_id, columns)
    assert [tuple(row) for row in await database.fetch(WRITTEN)] == [(1, 1, 1)]


async def test_a_pooled_connection_carries_no_tenant_over(pool: Pool) -> None:
    await store.append_all_new(pool, uuid.uuid4(), an_entry())
    assert not await pool.fetchval("select current_setting('app.current_tenant_id', true)")
    assert not await pool.fetchval("select count(*) from activity.activity_log")


async def test_what_one_tenant_has_taken_is_free_for_another(
    pool: Pool, database: Database
) -> None:
    columns = an_entry()
    for tenant_id in (uuid.uuid4(), uuid.uuid4()):
        await store.append_all_new(pool, tenant_id, columns)
    assert [tuple(row) for row in await database.fetch(WRITTEN)] == [(2, 2, 2)]


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("name", READS)
async def test_a_statement_that_reads_finds_its_own_tenants_entries_only(
    database: Database, name: str, plans: Plans
) -> None:
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    pool = await open_pool(database.dsn("activity_app"), schema="activity", size=1, plans=plans)
    for tenant_id in (ours, theirs):
        columns = one_entry(ID, USER, "login", str(tenant_id), "{}", utc_now())
        await store.append_all_new(pool, tenant_id, columns)
    # In turns on one connection: what a statement sets is over with it.
    for tenant_id in (ours, theirs, ours):
        rows = await read(pool, SQL.statements[name], tenant_id, *READS[name])
        assert [row["entry"]["target_id"] for row in rows] == [str(tenant_id)]
        assert await pool.fetchval(COUNT) == 0
    assert await read(pool, SQL.statements[name], uuid.uuid4(), *READS[name]) == []
    await pool.close()


async def test_entries_are_read_by_their_keys_under_the_own_tenant_only(pool: Pool) -> None:
    moment = utc_now().replace(microsecond=0)
    keys = [(str(ID), int(moment.timestamp()) * 1_000_000)]
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    await store.append_all_new(pool, theirs, one_entry(ID, USER, "login", "", "{}", moment))
    assert await reading_store.list_keys(pool, ours, Filter(), keys) == []
    assert len(await reading_store.list_keys(pool, theirs, Filter(), keys)) == 1
    assert await pool.fetchval(COUNT) == 0
