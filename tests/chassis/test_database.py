"""Transactions on a real Postgres that goes away under them."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from chassis.database import Connection, Pool, tenant_reading, tenant_transaction
from chassis.errors import AWAY
from tests.harness import Database


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
    with pytest.raises(AWAY):
        await work(database, pool, steps)
    async with tenant_transaction(pool, uuid.uuid4()) as connection:
        assert await connection.fetchval("select 1") == 1


async def test_who_has_read_does_not_wait_for_the_end_of_the_transaction(pool: Pool) -> None:
    tenant_id = uuid.uuid4()
    async with tenant_reading(pool, tenant_id) as connection:
        seen = await connection.fetchval("select current_setting('app.current_tenant_id')")
    assert seen == str(tenant_id)
    assert connection.is_in_transaction()
    assert await all_are_idle(pool)
    async with pool.acquire() as next_one:
        assert not next_one.is_in_transaction()
        left = await next_one.fetchval("select current_setting('app.current_tenant_id', true)")
        assert not left


async def test_a_reading_that_fails_is_over_when_its_caller_hears_of_it(pool: Pool) -> None:
    with pytest.raises(LookupError):
        async with tenant_reading(pool, uuid.uuid4()):
            raise LookupError
    assert pool.get_idle_size() == pool.get_size() > 0


async def test_a_server_that_leaves_after_all_is_read_is_nobodys_trouble(
    database: Database, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async with tenant_reading(pool, uuid.uuid4()) as connection:
        await end_session_unseen(database, connection)
    for _ in range(100):
        await asyncio.sleep(0.001)
    gc.collect()
    assert caplog.records == []
    async with tenant_transaction(pool, uuid.uuid4()) as connection:
        assert await connection.fetchval("select 1") == 1
