"""Nothing of ours needs a session, where a pooler lends servers for one transaction each."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import asyncpg
import pytest

from chassis.database import (
    Pool,
    connect_as_owner,
    open_pool,
    reaching_by,
    read,
    tenant_snapshot,
    tenant_transaction,
)
from chassis.postgres.pooler import connect_by_any, is_pooled
from chassis.postgres.servers import Servers
from chassis.settings import SettingsError
from chassis.transient import TRANSIENT
from devstack import servers
from tests.harness import Database, admin
from tests.pgbouncer import pgbouncer
from tests.standby import standby_of

NUMBERS = "select generate_series(1, 10) as number"


async def everything(pool: Pool) -> None:
    """Ask in each of the ways there are, and see one's own settings each time."""
    tenant = uuid.uuid4()
    assert await pool.fetchval("select current_schema()") == "activity"
    assert await pool.execute("select 1") == "SELECT 1"
    await pool.executemany("select $1::int", [(1,), (2,)])
    (row,) = await read(pool, "select current_schema() as name, $1::int", 7)
    assert row["name"] == "activity"
    async with tenant_transaction(pool, tenant) as connection:
        seen = await connection.fetchrow(
            "select current_schema(), current_setting('app.current_tenant_id'),"
            " current_setting('lock_timeout')"
        )
        assert tuple(seen or ()) == ("activity", str(tenant), "30s")
    async with tenant_snapshot(pool, tenant) as connection:
        cursor = await connection.cursor(NUMBERS)
        first = await cursor.fetch(5)
        assert await connection.fetchval("select current_schema()") == "activity"
        assert [row["number"] for row in first + await cursor.fetch(9)] == [*range(1, 11)]


async def test_a_server_itself_is_no_pooler(shared_database: Database) -> None:
    dsn = shared_database.server.dsn("activity_owner", shared_database.name)
    connection = await connect_by_any(Servers(dsn))
    assert not await is_pooled(connection)
    await connection.close()


async def test_behind_a_pooler_no_statement_stays_prepared(
    shared_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def always(*_: object, **__: object) -> bool:
        return True

    monkeypatch.setattr("chassis.database.is_pooled", always)
    pool = await open_pool(shared_database.dsn("activity_app"), schema="activity", size=1)
    await everything(pool)
    assert await pool.fetchval("select count(*) from pg_prepared_statements") == 0
    await pool.close()


@pytest.fixture
def address(shared_database: Database, tmp_path: Path) -> Iterator[str]:
    """A PgBouncer with one server for each role."""
    with pgbouncer(tmp_path, shared_database.server, size=1) as address:
        yield address


@pytest.fixture
async def pools(address: str, shared_database: Database) -> AsyncIterator[list[Pool]]:
    """Pools of three replicas."""
    dsn = f"postgresql://activity_app@{address}/{shared_database.name}"
    async with AsyncExitStack() as closing:
        pools = [await open_pool(dsn, schema="activity", size=2) for _ in range(3)]
        for each in pools:
            closing.push_async_callback(each.close)
        yield pools


@pytest.mark.pgbouncer
async def test_replicas_that_share_a_server_of_pgbouncer_do_not_notice(pools: list[Pool]) -> None:
    for _ in range(5):
        await asyncio.gather(*(everything(each) for each in pools for _ in range(4)))


@pytest.mark.pgbouncer
async def test_nothing_is_left_in_a_server_that_pgbouncer_lends_to_others(
    pools: list[Pool], address: str, shared_database: Database
) -> None:
    await everything(pools[0])
    dsn = f"postgresql://activity_app@{address}/{shared_database.name}"
    other = await asyncpg.connect(dsn, statement_cache_size=0)
    async with other.transaction():
        left = await other.fetchrow(
            "select current_setting('search_path'), current_setting('plan_cache_mode'),"
            " (select count(*) from pg_prepared_statements)"
        )
    assert tuple(left or ()) == ('"$user", public', "auto", 0)
    await other.close()


@pytest.mark.pgbouncer
async def test_a_mode_without_transactions_is_refused_in_one_line(
    shared_database: Database, tmp_path: Path
) -> None:
    with pgbouncer(tmp_path, shared_database.server, mode="statement") as address:
        dsn = f"postgresql://activity_app@{address}/{shared_database.name}"
        with (
            pytest.raises(SettingsError, match="statement pooling mode"),
            reaching_by("X", dsn),
        ):
            await open_pool(dsn, schema="activity", size=1)


@pytest.mark.pgbouncer
async def test_who_migrates_is_told_to_go_past_a_pooler(
    address: str, shared_database: Database
) -> None:
    with pytest.raises(SettingsError, match="OWNER_DSN leads through a pooler"):
        await connect_as_owner(f"postgresql://metrics_owner@{address}/{shared_database.name}")


@pytest.mark.pgbouncer
async def test_a_server_that_was_promoted_under_pgbouncer_is_found(tmp_path: Path) -> None:
    with ExitStack() as running:
        primary = running.enter_context(servers.postgres(tmp_path / "primary", durable=False))
        await admin(primary, "create role activity_app login; create schema activity")
        standby = running.enter_context(standby_of(primary, tmp_path / "standby"))
        address = running.enter_context(pgbouncer(tmp_path, standby))
        dsn = f"postgresql://activity_app@{address}/postgres"
        with pytest.raises(TRANSIENT, match="read-only"):
            await open_pool(dsn, schema="activity", size=1)
        await admin(standby, "select pg_promote()")
        pool = await open_pool(dsn, schema="activity", size=1)
        await pool.execute("create temporary table written ()")
        await pool.close()
