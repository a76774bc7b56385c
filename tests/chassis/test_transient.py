"""What PostgreSQL says in trouble that passes is told from what is wrong with a statement."""

from __future__ import annotations

import asyncpg
import pytest

from chassis.transient import TRANSIENT
from tests.harness import Database

PASSES = {
    "08006": "connection failure",
    "25006": "read only: a failover has demoted the server",
    "25P03": "idle in transaction timeout",
    "25P04": "transaction timeout",
    "28000": "no login",
    "28P01": "a refused or changed password",
    "3D000": "the database is away",
    "3F000": "the schema is not there yet",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "42703": "a column of a newer release",
    "42883": "a function of a newer release",
    "42P01": "a table of a newer release",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "53400": "configuration limit exceeded",
    "55006": "object in use",
    "55P03": "lock not available",
    "57014": "statement timeout, or cancelled by the operator",
    "57P01": "admin shutdown",
    "57P02": "crash shutdown",
    "57P03": "starting up",
    "57P04": "database dropped",
    "57P05": "idle session timeout",
    "58000": "system error",
    "58030": "I/O error",
    "72000": "snapshot too old",
    "XX001": "data corrupted",
    "XX002": "index corrupted",
}
STAYS = {
    "0A000": "feature not supported",
    "21000": "cardinality violation",
    "22003": "numeric value out of range",
    "22021": "character not in repertoire",
    "22P02": "invalid text representation",
    "23502": "not null",
    "23505": "unique",
    "23514": "check, or no partition",
    "25P02": "in failed transaction",
    "42501": "insufficient privilege, or row level security",
    "42601": "syntax",
    "P0001": "raise exception",
    "XX000": "internal error",
}


async def raised(database: Database, code: str) -> asyncpg.PostgresError:
    """Return the error that asyncpg makes of an SQLSTATE that the server sends."""
    connection = await asyncpg.connect(database.dsn())
    try:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(
                f"do $$ begin raise exception 'trouble' using errcode = '{code}'; end $$"
            )
    finally:
        await connection.close()
    return caught.value


@pytest.mark.parametrize("code", PASSES)
async def test_trouble_that_passes_is_transient(shared_database: Database, code: str) -> None:
    assert isinstance(await raised(shared_database, code), TRANSIENT), PASSES[code]


@pytest.mark.parametrize("code", STAYS)
async def test_what_is_wrong_with_a_statement_is_not_transient(
    shared_database: Database, code: str
) -> None:
    assert not isinstance(await raised(shared_database, code), TRANSIENT), STAYS[code]


async def test_a_plan_that_a_migration_has_changed_is_transient(shared_database: Database) -> None:
    connection = await asyncpg.connect(shared_database.dsn())
    other = await asyncpg.connect(shared_database.dsn())
    await connection.execute("create schema plans; create table plans.t (a int)")
    try:
        await connection.fetch("select * from plans.t")
        await other.execute("alter table plans.t add column b int")
        with pytest.raises(TRANSIENT):  # asyncpg prepares anew by itself, but in a transaction
            async with connection.transaction():
                await connection.fetch("select * from plans.t")
    finally:
        await connection.execute("drop schema plans cascade")
        await other.close()
        await connection.close()
