"""Transactions on a real Postgres that goes away under them."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import structlog

from chassis.database import (
    Connection,
    Patience,
    Pool,
    open_pool,
    read,
    role_transaction,
    tenant_transaction,
)
from chassis.transient import TRANSIENT
from tests.harness import Database

SLEEP = "select pg_sleep(60)"
END_SLEEP = f"select pg_terminate_backend(pid) from pg_stat_activity where query = '{SLEEP}'"


async def end_session_unseen(database: Database, connection: Connection) -> None:
    """End the connection's session while this loop does not look, as a crash between two steps."""
    pid = await connection.fetchval("select pg_backend_pid()")
    ending = database.fetch(f"select pg_terminate_backend({pid})")
    with ThreadPoolExecutor(1) as own_thread:
        own_thread.submit(asyncio.run, ending).result()
    time.sleep(0.1)  # noqa: ASYNC251 -- the server's last words are there, and not read yet


async def left_before_the_commit(database: Database, pool: Pool, steps: int) -> None:
    """Commit so many steps of the loop after the server has left."""
    async with tenant_transaction(pool, uuid.uuid4()) as connection:
        await end_session_unseen(database, connection)
        for _ in range(steps):
            await asyncio.sleep(0)


async def left_before_a_statement(database: Database, pool: Pool, steps: int) -> None:
    """Ask so many steps of the loop after the server has left."""
    async with pool.acquire() as connection:
        await end_session_unseen(database, connection)
        for _ in range(steps):
            await asyncio.sleep(0)
        await connection.fetchval("select 1")


async def all_are_idle(pool: Pool) -> bool:
    """Wait until every connection is back in the pool; False where one stays away."""
    for _ in range(200):
        if pool.get_size() and pool.get_idle_size() == pool.get_size():
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("steps", range(5))
@pytest.mark.parametrize("work", [left_before_the_commit, left_before_a_statement])
async def test_a_server_that_has_left_is_away_however_much_is_known_of_it(
    database: Database,
    pool: Pool,
    work: Callable[[Database, Pool, int], Awaitable[None]],
    steps: int,
) -> None:
    with pytest.raises(TRANSIENT):
        await work(database, pool, steps)
    async with tenant_transaction(pool, uuid.uuid4()) as connection:
        assert await connection.fetchval("select 1") == 1


async def test_who_has_read_does_not_wait_for_the_way_back_to_the_pool(pool: Pool) -> None:
    (row,) = await read(pool, "select $1::int as number", 7)
    assert row["number"] == 7
    assert pool.get_idle_size() < pool.get_size()
    assert await all_are_idle(pool)


async def test_a_reading_that_fails_gives_its_connection_back(pool: Pool) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await read(pool, "select 1 / $1::int", 0)
    assert await all_are_idle(pool)


async def test_a_reading_whose_caller_gives_up_gives_its_connection_back(pool: Pool) -> None:
    reading = asyncio.create_task(read(pool, SLEEP))
    await asyncio.sleep(0.2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await all_are_idle(pool)


async def test_a_server_that_leaves_under_a_reading_is_away_and_its_connection_leaves_the_pool(
    database: Database, pool: Pool
) -> None:
    reading = asyncio.create_task(read(pool, SLEEP))
    await asyncio.sleep(0.2)
    await database.fetch(END_SLEEP)
    with pytest.raises(TRANSIENT):
        await reading
    assert await read(pool, "select 1")


@pytest.mark.parametrize("gives_up", [False, True])
async def test_a_server_that_leaves_a_connection_on_its_way_back_is_nobodys_trouble(
    database: Database, pool: Pool, caplog: pytest.LogCaptureFixture, gives_up: bool
) -> None:
    reading = asyncio.create_task(read(pool, SLEEP))
    await asyncio.sleep(0.2)
    if gives_up:
        reading.cancel()
    await database.fetch(END_SLEEP)
    with pytest.raises((*TRANSIENT, asyncio.CancelledError)):
        await reading
    del reading
    for _ in range(100):
        await asyncio.sleep(0.001)
    gc.collect()
    assert caplog.records == []
    async with tenant_transaction(pool, uuid.uuid4()) as connection:
        assert await connection.fetchval("select 1") == 1


COMMIT = "select current_setting('synchronous_commit')"


@pytest.mark.parametrize(("given", "made"), [("off", "on"), ("remote_write", "remote_write")])
async def test_a_commit_waits_for_the_disk_unless_it_need_not(
    database: Database, given: str, made: str
) -> None:
    await database.fetch(f"alter database {database.name} set synchronous_commit = {given}")
    pool = await open_pool(database.dsn("activity_app"), schema="activity", size=1)
    assert await pool.fetchval(COMMIT) == made
    async with role_transaction(pool, "activity_relay") as connection:
        assert await connection.fetchval(COMMIT) == made
    async with role_transaction(pool, "activity_relay", durable=False) as connection:
        assert await connection.fetchval(COMMIT) == "off"
    await pool.close()
    await database.fetch(f"alter database {database.name} reset synchronous_commit")


async def test_the_log_says_once_that_commits_did_not_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.database._told", [])
    await database.fetch(f"alter database {database.name} set synchronous_commit = off")
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            pool = await open_pool(database.dsn("activity_app"), schema="activity", size=1)
            await pool.close()
    assert len([each for each in lines if "synchronous_commit" in each["event"]]) == 1
    await database.fetch(f"alter database {database.name} reset synchronous_commit")


LOCK = "select pg_advisory_xact_lock(7)"


async def test_a_replica_that_falls_silent_in_a_transaction_loses_its_locks(
    database: Database,
) -> None:
    dsn = database.dsn("activity_app")
    silent = await open_pool(dsn, schema="activity", size=1, patience=Patience(in_transaction=0.2))
    other = await open_pool(dsn, schema="activity", size=1)

    async def fall_silent() -> None:
        async with tenant_transaction(silent, uuid.uuid4()) as connection:
            await connection.execute(LOCK)
            async with tenant_transaction(other, uuid.uuid4()) as waiting:
                await waiting.execute(LOCK)
            await connection.fetchval("select 1")

    with pytest.raises(TRANSIENT):
        await fall_silent()
    assert await silent.fetchval("select 1") == 1
    await asyncio.gather(silent.close(), other.close())


async def test_a_lock_is_waited_for_no_longer_than_is_set(database: Database) -> None:
    dsn = database.dsn("activity_app")
    holder = await open_pool(dsn, schema="activity", size=1)
    hasty = await open_pool(dsn, schema="activity", size=1, patience=Patience(for_lock=0.1))
    async with tenant_transaction(holder, uuid.uuid4()) as connection:
        await connection.execute(LOCK)
        with pytest.raises(TRANSIENT):
            async with tenant_transaction(hasty, uuid.uuid4()) as waiting:
                await waiting.execute(LOCK)
    await asyncio.gather(holder.close(), hasty.close())


async def through_tcp(database: Database, path: Path) -> asyncio.Server:
    """Forward a TCP port to the server's Unix socket."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while content := await source.read(65_536):
            target.write(content)
        target.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    return await asyncio.start_server(forward, "127.0.0.1", 0)


async def test_a_connection_that_nothing_comes_through_is_given_up(database: Database) -> None:
    async with await through_tcp(
        database, database.server.socket_folder / ".s.PGSQL.5432"
    ) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        dsn = f"postgresql://activity_app@127.0.0.1:{port}/{database.name}"
        pool = await open_pool(dsn, schema="activity", size=1, patience=Patience(on_wire=8))
        async with pool.acquire() as connection:
            wire = connection._con._transport.get_extra_info("socket")  # type: ignore[attr-defined]
            option = partial(wire.getsockopt, socket.IPPROTO_TCP)
            assert option(socket.TCP_USER_TIMEOUT) == 8_000
            assert (option(socket.TCP_KEEPIDLE), option(socket.TCP_KEEPINTVL)) == (4, 2)
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await pool.close()
