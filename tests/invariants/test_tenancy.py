"""Tenants never meet: as a service's own role, no table gives a row of another tenant."""

from __future__ import annotations

import uuid
from pathlib import Path

import asyncpg
import pytest

from chassis.database import open_pool, role_transaction, tenant_transaction
from devstack.stack import SERVICES
from tests.harness import Database

TENANT_TABLES = (
    "activity.activity_log",
    "activity.batches",
    "activity.erasures",
    "activity.expiries",
    "activity.inbox",
    "activity.outbox",
    "activity.published",
    "activity.requests",
    "activity.retention",
    "activity.tiles",
    "activity.trees",
    "enrichment.attempts",
    "enrichment.batch_runs",
    "enrichment.batches",
    "enrichment.erasures",
    "enrichment.flows",
    "enrichment.inbox",
    "enrichment.ledger",
    "enrichment.outbox",
    "enrichment.policies",
    "enrichment.prospects",
    "enrichment.published",
    "enrichment.requests",
    "enrichment.runs",
    "enrichment.spending",
    "enrichment.steps",
    "enrichment.suppressions",
    "metrics.erasures",
    "metrics.inbox",
    "metrics.outbox",
    "metrics.published",
    "metrics.quota_usage",
    "metrics.quotas",
    "metrics.reconciliations",
    "metrics.settings",
    "metrics.usage_metrics_daily",
    "metrics.usage_metrics_daily_totals",
    "metrics.usage_metrics_quarter_hours",
    "metrics.usage_shadow",
)
READABLE = (*TENANT_TABLES, "enrichment.run_rows")


@pytest.fixture
def database(shared_database: Database) -> Database:
    """Each test has tenants of its own, so one database serves all."""
    return shared_database


ROWS = Path(__file__).with_name("one_row_each.sql").read_text()


async def fill(database: Database, tenant_id: uuid.UUID) -> None:
    """Put one row of the tenant into every table."""
    connection = await asyncpg.connect(database.dsn())
    try:
        await connection.execute(ROWS.replace("TENANT", str(tenant_id)))
    finally:
        await connection.close()


async def tables_with_tenants(database: Database) -> list[asyncpg.Record]:
    return await database.fetch(
        "select c.oid::regclass::text as name, relrowsecurity as enabled,"
        " relforcerowsecurity as forced, c.relispartition as is_partition"
        " from pg_class c join pg_namespace n on n.oid = relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and attname = 'tenant_id'"
        " where nspname = any($1) and relkind in ('r', 'p')",
        list(SERVICES),
    )


async def test_every_table_with_a_tenant_is_in_this_test(database: Database) -> None:
    rows = await tables_with_tenants(database)
    assert sorted(row["name"] for row in rows if not row["is_partition"]) == sorted(TENANT_TABLES)


async def test_row_level_security_is_on_and_forced_on_every_table(database: Database) -> None:
    await fill(database, uuid.uuid4())
    rows = await tables_with_tenants(database)
    assert any(row["is_partition"] for row in rows)
    assert [row["name"] for row in rows if not (row["enabled"] and row["forced"])] == []


async def test_no_role_of_a_service_can_bypass_row_level_security(database: Database) -> None:
    rows = await database.fetch(
        "select rolname from pg_roles where (rolsuper or rolbypassrls)"
        " and rolname ~ '^(activity|enrichment|metrics)_'"
    )
    assert rows == []


@pytest.mark.parametrize("table", READABLE)
async def test_a_service_sees_the_rows_of_the_tenant_it_works_for_only(
    database: Database, table: str
) -> None:
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    await fill(database, ours)
    await fill(database, theirs)
    service = table.split(".", maxsplit=1)[0]
    pool = await open_pool(database.dsn(f"{service}_app"), schema=service, size=2)
    async with tenant_transaction(pool, ours) as connection:
        seen = await connection.fetch(f"select tenant_id from {table}")
    await pool.close()
    assert [row["tenant_id"] for row in seen] == [ours]


@pytest.mark.parametrize("table", READABLE)
async def test_without_a_tenant_a_service_sees_nothing(database: Database, table: str) -> None:
    tenant_id = uuid.uuid4()
    await fill(database, tenant_id)
    service = table.split(".", maxsplit=1)[0]
    pool = await open_pool(database.dsn(f"{service}_app"), schema=service, size=1)
    # The same connection has just worked for the tenant: nothing of that may stay on it.
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await connection.fetchval(f"select count(*) from {table}") == 1
    assert await pool.fetchval(f"select count(*) from {table}") == 0
    await pool.close()


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_a_service_cannot_write_a_row_for_another_tenant(
    database: Database, table: str
) -> None:
    await fill(database, uuid.uuid4())
    service = table.split(".", maxsplit=1)[0]
    pool = await open_pool(database.dsn(f"{service}_app"), schema=service, size=1)
    statement = _insert_into(table, uuid.uuid4())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with tenant_transaction(pool, uuid.uuid4()) as connection:
            await connection.execute(statement)
    await pool.close()


def _insert_into(table: str, tenant_id: uuid.UUID) -> str:
    statements = ROWS.replace("TENANT", str(tenant_id)).split(";")
    return next(each for each in statements if f"insert into {table} " in each)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_has_no_rights_in_anothers_schema(database: Database, service: str) -> None:
    others = [name for name in SERVICES if name != service]
    rows = await database.fetch(
        "select n from unnest($2::text[]) n where has_schema_privilege($1, n, 'usage')",
        f"{service}_app",
        others,
    )
    assert rows == []


async def test_a_partition_cannot_be_read_past_its_parent(database: Database) -> None:
    tenant_id = uuid.uuid4()
    await fill(database, tenant_id)
    names = [r["name"] for r in await tables_with_tenants(database) if r["is_partition"]]
    pool = await open_pool(database.dsn("activity_app"), schema="activity", size=1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with tenant_transaction(pool, tenant_id) as connection:
            await connection.execute(f"select 1 from {names[0]}")
    await pool.close()


async def test_the_view_that_reads_as_the_owner_gives_the_own_tenants_rows_only(
    database: Database,
) -> None:
    ours = uuid.uuid4()
    await fill(database, ours)
    await fill(database, uuid.uuid4())
    pool = await open_pool(database.dsn("activity_app"), schema="activity", size=1)
    async with tenant_transaction(pool, ours) as connection:
        seen = await connection.fetch("select tenant_id from activity.own_log")
    assert [row["tenant_id"] for row in seen] == [ours]
    assert await pool.fetchval("select count(*) from activity.own_log") == 0
    await pool.close()


async def test_no_other_view_reads_past_row_level_security(database: Database) -> None:
    rows = await database.fetch(
        "select c.oid::regclass::text as name from pg_class c"
        " join pg_namespace n on n.oid = relnamespace"
        " where nspname = any($1) and relkind in ('v', 'm')"
        " and not coalesce(c.reloptions @> '{security_invoker=true}', false)",
        list(SERVICES),
    )
    assert [row["name"] for row in rows] == ["activity.own_log"]


@pytest.mark.parametrize(
    ("service", "role", "statement"),
    [
        ("activity", "activity_relay", "select 1 from activity.activity_log"),
        ("activity", "activity_relay", "update activity.outbox set subject = subject"),
        ("activity", "activity_relay", "update activity.published set subject = subject"),
        ("activity", "activity_app", "delete from activity.published"),
        ("activity", "activity_keeper", "select 1 from activity.activity_log"),
        ("activity", "activity_keeper", "select answer from activity.requests"),
        ("activity", "activity_keeper", "update activity.retention set retention_days = 1"),
        ("activity", "activity_keeper", "select user_id from activity.erasures"),
        ("activity", "activity_app", "update activity.batches set leaves = ''"),
        ("activity", "activity_app", "insert into activity.drops values (true, now())"),
        ("activity", "activity_app", "update activity.activity_log set created_at = now()"),
        ("activity", "activity_sealer", "select leaves from activity.batches"),
        ("activity", "activity_sealer", "update activity.batches set first_leaf = 0"),
        ("activity", "activity_sealer", "select 1 from activity.activity_log"),
        ("activity", "activity_sealer", "select 1 from activity.trees"),
        ("enrichment", "enrichment_claimer", "select prospect_id from enrichment.runs"),
        ("enrichment", "enrichment_claimer", "select name from enrichment.prospects"),
        ("enrichment", "enrichment_claimer", "update enrichment.runs set wake_at = now()"),
        ("enrichment", "enrichment_claimer", "select sources from enrichment.policies"),
        ("enrichment", "enrichment_keeper", "select prospect_id from enrichment.runs"),
        ("enrichment", "enrichment_keeper", "delete from enrichment.runs"),
        ("enrichment", "enrichment_keeper", "select name from enrichment.prospects"),
        ("enrichment", "enrichment_app", "delete from enrichment.ledger"),
        ("enrichment", "enrichment_app", "delete from enrichment.erasures"),
        ("enrichment", "enrichment_app", "update enrichment.outbox set subject = subject"),
        ("enrichment", "enrichment_app", "update enrichment.published set subject = subject"),
        ("metrics", "metrics_relay", "select 1 from metrics.usage_metrics_daily"),
    ],
)
async def test_a_narrow_role_can_do_its_one_thing_only(
    database: Database, service: str, role: str, statement: str
) -> None:
    pool = await open_pool(database.dsn(f"{service}_app"), schema=service, size=1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with role_transaction(pool, role) as connection:
            await connection.execute(statement)
    await pool.close()
