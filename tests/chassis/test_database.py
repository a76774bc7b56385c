"""Transactions on a real Postgres that goes away under them."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from chassis.database import Connection, Pool, read, tenant_transaction
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


async def test_a_server_that_leaves_under_a_reading_is_away_and_takes_no_place_in_the_pool(
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
