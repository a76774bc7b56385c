"""Connections find the server that takes writes, before and after a failover."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from chassis.database import Pool, open_pool, reaching_by, tenant_transaction
from chassis.settings import SettingsError
from chassis.transient import TRANSIENT
from devstack import servers
from tests.chassis.postgres.wire import Wire, wire_to
from tests.standby import standby_of

SCHEMA = """
create role activity_app login;
create schema activity authorization activity_app;
create table activity.written (number int, server timestamptz default pg_postmaster_start_time());
alter table activity.written owner to activity_app;
"""


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[servers.Postgres]:
    with servers.postgres(tmp_path / "primary", durable=False) as server:
        asyncio.run(run(server, SCHEMA))
        yield server


@pytest.fixture
def standby(primary: servers.Postgres, tmp_path: Path) -> Iterator[servers.Postgres]:
    with standby_of(primary, tmp_path / "standby") as server:
        yield server


@pytest.fixture
async def wires(
    primary: servers.Postgres, standby: servers.Postgres
) -> AsyncIterator[tuple[Wire, Wire]]:
    async with AsyncExitStack() as running:
        one = await running.enter_async_context(wire_to(primary.socket_folder))
        other = await running.enter_async_context(wire_to(standby.socket_folder))
        yield one, other


async def run(server: servers.Postgres, sql: str) -> None:
    """Run statements as the superuser."""
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(sql)
    await connection.close()


async def was_written_to(server: servers.Postgres) -> bool:
    """Return whether a row was written there, and not only copied to it from the primary."""
    connection = await asyncpg.connect(server.dsn())
    try:
        rows = "select from activity.written where server = pg_postmaster_start_time()"
        return bool(await connection.fetch(rows))
    finally:
        await connection.close()


def dsn_of(*wires: Wire) -> str:
    """Return a DSN that names several servers."""
    return f"postgresql://activity_app@{','.join(each.address for each in wires)}/postgres"


async def write(pool: Pool) -> None:
    """Write a row."""
    async with tenant_transaction(pool, uuid.uuid4()) as connection:
        await connection.execute("insert into written (number) values ($1)", 1)


async def write_until_it_arrives(pool: Pool, server: servers.Postgres) -> None:
    """Write rows until one arrives at the server, within ten seconds; what is refused may be."""
    async with asyncio.timeout(10):
        while not await was_written_to(server):
            with contextlib.suppress(*TRANSIENT, asyncpg.ReadOnlySQLTransactionError):
                await write(pool)
            await asyncio.sleep(0.02)


async def test_a_standby_that_is_named_first_is_passed_over(wires: tuple[Wire, Wire]) -> None:
    pool = await open_pool(dsn_of(wires[1], wires[0]), schema="activity", size=2)
    await write(pool)
    await pool.close()


async def test_a_standby_alone_is_no_server_to_write_to(wires: tuple[Wire, Wire]) -> None:
    dsn = dsn_of(wires[1])
    with pytest.raises(SettingsError, match="read-write"), reaching_by("X", dsn):
        await open_pool(dsn, schema="activity", size=2)


async def test_a_dsn_may_ask_for_any_server(wires: tuple[Wire, Wire]) -> None:
    dsn = f"{dsn_of(wires[1])}?target_session_attrs=any"
    pool = await open_pool(dsn, schema="activity", size=1)
    assert await pool.fetchval("select pg_is_in_recovery()")
    await pool.close()


async def test_a_server_that_swallows_everything_does_not_take_the_others_time(
    wires: tuple[Wire, Wire],
) -> None:
    wires[1].swallow()
    pool = await open_pool(dsn_of(wires[1], wires[0]), schema="activity", size=2)
    await write(pool)
    await pool.close()


async def test_a_promoted_standby_is_found_once_the_primary_is_gone(
    wires: tuple[Wire, Wire], primary: servers.Postgres, standby: servers.Postgres
) -> None:
    pool = await open_pool(dsn_of(*wires), schema="activity", size=2)
    writing = asyncio.create_task(write_until_it_arrives(pool, standby))
    await asyncio.sleep(0.1)
    primary.process.kill()
    await asyncio.sleep(0.1)
    await run(standby, "select pg_promote()")
    await writing
    await pool.close()


async def test_a_server_that_takes_no_writes_any_more_loses_its_connections(
    wires: tuple[Wire, Wire], primary: servers.Postgres, standby: servers.Postgres
) -> None:
    pool = await open_pool(dsn_of(*wires), schema="activity", size=1)
    await run(standby, "select pg_promote()")
    await run(primary, "alter system set default_transaction_read_only = on")
    await run(primary, "select pg_reload_conf()")
    await write_until_it_arrives(pool, standby)
    await pool.close()
