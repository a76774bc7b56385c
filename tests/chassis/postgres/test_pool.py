"""A pool says within seconds that Postgres is silent, and that it has no connection to give."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from chassis.database import Patience, open_pool
from chassis.postgres.pool import PatientPool
from chassis.transient import TRANSIENT, RetryLater
from tests.chassis.postgres.wire import Wire, wire_to
from tests.harness import Database

SOON = Patience(on_wire=2, for_connection=1)


@pytest.fixture
async def wire(shared_database: Database) -> AsyncIterator[Wire]:
    async with wire_to(shared_database.server.socket_folder) as wire:
        yield wire


async def pool_by(wire: Wire, database: Database, size: int = 2) -> PatientPool:
    """Open a pool that loses its patience soon."""
    dsn = f"postgresql://activity_app@{wire.address}/{database.name}"
    pool = await open_pool(dsn, schema="activity", size=size, patience=SOON)
    assert isinstance(pool, PatientPool)
    return pool


async def until(pool: PatientPool, answers: bool) -> None:
    """Wait until the pool knows."""
    async with asyncio.timeout(10):
        while pool.answers != answers:
            await asyncio.sleep(0.02)


async def test_a_statement_whose_answer_is_swallowed_ends_soon(
    wire: Wire, shared_database: Database
) -> None:
    pool = await pool_by(wire, shared_database)
    asking = asyncio.create_task(pool.fetchval("select pg_sleep(1)"))
    await asyncio.sleep(0.1)
    wire.swallow()
    async with asyncio.timeout(10):
        with pytest.raises(TRANSIENT):
            await asking
    assert not pool.answers
    pool.terminate()


async def test_a_pool_that_nothing_came_through_is_whole_once_it_does_again(
    wire: Wire, shared_database: Database
) -> None:
    pool = await pool_by(wire, shared_database)
    wire.swallow()
    await until(pool, answers=False)
    wire.carry()
    await until(pool, answers=True)
    assert await pool.fetchval("select 1") == 1
    await pool.close()


async def test_sessions_that_an_administrator_ended_are_no_silence(
    database: Database,
) -> None:
    pool = await open_pool(database.dsn("activity_app"), schema="activity", size=1, patience=SOON)
    await database.end_sessions()
    ended = time.monotonic()
    async with asyncio.timeout(10):
        while pool._told[1] < ended:  # until it has asked again
            await asyncio.sleep(0.02)
            assert pool.answers
    await pool.close()


async def test_who_gets_no_connection_is_told_to_come_again(
    wire: Wire, shared_database: Database
) -> None:
    pool = await pool_by(wire, shared_database, size=1)
    async with pool.acquire():
        with pytest.raises(RetryLater):
            await pool.fetchval("select 1")
        assert pool.answers
    await pool.close()


async def test_a_process_that_stood_still_itself_blames_nobody(
    wire: Wire, shared_database: Database
) -> None:
    pool = await pool_by(wire, shared_database)
    async with pool.acquire() as connection:
        process = await connection.fetchval("select pg_backend_pid()")
        for _ in range(3):
            time.sleep(2.5)  # noqa: ASYNC251 -- as a process that is frozen does
            await asyncio.sleep(0.05)
        assert await connection.fetchval("select pg_backend_pid()") == process
    await pool.close()
