"""Migrations: in which order they are applied, as whom, each whole or not at all, and once."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import asyncpg
import pytest

from chassis.migrate import (
    FOUNDATION,
    LOCK,
    MigrationError,
    migrate,
    migrations_of,
    roles_of,
)
from tests.harness import Database

SERVICE = "metrics"
SHARED = [f"foundation_{path.stem}" for path in sorted(FOUNDATION.glob("0*.sql"))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a service that has two migrations."""
    (tmp_path / "migrations").mkdir()
    write(tmp_path, "0002_cups", "create table cups (tea text references teas)")
    write(tmp_path, "0001_teas", "create table teas (tea text primary key)")
    return tmp_path


@pytest.fixture
async def empty(database: Database) -> Database:
    """A database in which the service has no schema yet."""
    await database.fetch(f"drop schema {SERVICE} cascade")
    return database


def write(folder: Path, name: str, sql: str) -> None:
    (folder / "migrations" / f"{name}.sql").write_text(sql)


async def applied(database: Database) -> dict[str, str]:
    """Return the checksum of each migration that the database says it has."""
    rows = await database.fetch(f"select name, checksum from {SERVICE}.schema_migrations")
    return {row["name"]: row["checksum"] for row in rows}


async def owner_of(database: Database, table: str) -> str | None:
    sql = "select tableowner from pg_tables where schemaname = $1 and tablename = $2"
    return next((row["tableowner"] for row in await database.fetch(sql, SERVICE, table)), None)


def test_the_foundation_comes_first_and_each_file_by_its_number(folder: Path) -> None:
    (folder / "migrations" / "notes.sql").touch()
    found = migrations_of(SERVICE, folder)
    assert [each.name for each in found] == [*SHARED, "0001_teas", "0002_cups"]
    assert found[-2].sql == "create table teas (tea text primary key)"


def test_the_foundation_is_written_for_the_service() -> None:
    foundation = migrations_of(SERVICE, FOUNDATION)[0].sql
    assert f"create table if not exists {SERVICE}.outbox" in foundation
    assert "__service__" not in foundation


def test_a_services_own_roles_follow_those_that_each_has(folder: Path) -> None:
    shared = roles_of(SERVICE, folder)
    assert f"create schema if not exists {SERVICE} authorization {SERVICE}_owner;" in shared
    (folder / "roles.sql").write_text("grant __service___app to tea;")
    assert roles_of(SERVICE, folder) == f"{shared}\ngrant {SERVICE}_app to tea;"


async def test_a_superuser_applies_all_in_the_owners_name(empty: Database, folder: Path) -> None:
    names = [*SHARED, "0001_teas", "0002_cups"]
    assert await migrate(empty.dsn(), SERVICE, folder) == names
    assert await owner_of(empty, "cups") == f"{SERVICE}_owner"
    assert await applied(empty) == {
        each.name: hashlib.sha256(each.sql.encode()).hexdigest()
        for each in migrations_of(SERVICE, folder)
    }


async def test_an_owner_applies_all_once_an_administrator_has_made_the_roles(
    empty: Database, folder: Path
) -> None:
    owner = empty.dsn(f"{SERVICE}_owner")
    with pytest.raises(asyncpg.InvalidSchemaNameError):
        await migrate(owner, SERVICE, folder)
    await empty.fetch(f"create schema {SERVICE} authorization {SERVICE}_owner")
    assert (await migrate(owner, SERVICE, folder))[-1] == "0002_cups"
    assert await owner_of(empty, "cups") == f"{SERVICE}_owner"


async def test_only_what_is_new_is_applied(empty: Database, folder: Path) -> None:
    await migrate(empty.dsn(), SERVICE, folder)
    assert await migrate(empty.dsn(), SERVICE, folder) == []
    write(folder, "0003_pots", "create table pots ()")
    assert await migrate(empty.dsn(), SERVICE, folder) == ["0003_pots"]


async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(
    empty: Database, folder: Path
) -> None:
    write(folder, "0002_cups", "create table cups (); create table teas ()")
    with pytest.raises(MigrationError) as refused:
        await migrate(empty.dsn(), SERVICE, folder)
    assert str(refused.value) == '0002_cups failed: relation "teas" already exists (42P07)'
    assert await owner_of(empty, "cups") is None
    assert list(await applied(empty)) == [*SHARED, "0001_teas"]
    write(folder, "0002_cups", "create table cups ()")
    assert await migrate(empty.dsn(), SERVICE, folder) == ["0002_cups"]


async def test_a_migration_that_cannot_be_noted_leaves_nothing(
    empty: Database, folder: Path
) -> None:
    noted = "insert into schema_migrations (name, checksum) values ('0002_cups', '')"
    write(folder, "0002_cups", f"create table cups (); {noted}")
    with pytest.raises(MigrationError, match="23505, schema_migrations"):
        await migrate(empty.dsn(), SERVICE, folder)
    assert await owner_of(empty, "cups") is None


@pytest.mark.parametrize(
    "statement",
    [
        "create unique index on teas (blend)",
        "alter table teas add check (tea = blend)",
        "alter table teas alter blend type integer using blend::integer",
        "alter table teas alter blend type varchar(3)",
        "do $$ begin raise exception 'found %', (select min(blend) from teas); end $$",
    ],
)
async def test_a_migration_that_fails_at_what_was_typed_does_not_quote_it(
    empty: Database, folder: Path, statement: str
) -> None:
    rows = "insert into teas values ('a', 'typed by a user'), ('b', 'typed by a user')"
    write(folder, "0002_cups", f"alter table teas add blend text; {rows}")
    await migrate(empty.dsn(), SERVICE, folder)
    write(folder, "0003_pots", statement)
    with pytest.raises(MigrationError, match="0003_pots failed: ") as refused:
        await migrate(empty.dsn(), SERVICE, folder)
    assert "typed" not in str(refused.value)
    assert refused.value.__suppress_context__


async def test_an_edited_migration_is_named_and_none_after_it_is_applied(
    empty: Database, folder: Path
) -> None:
    await migrate(empty.dsn(), SERVICE, folder)
    write(folder, "0001_teas", "create table teas ()")
    write(folder, "0003_pots", "create table pots ()")
    with pytest.raises(MigrationError) as refused:
        await migrate(empty.dsn(), SERVICE, folder)
    assert str(refused.value) == (
        "0001_teas was edited after it was applied; write a new migration instead"
    )
    assert await owner_of(empty, "pots") is None


async def test_a_replica_waits_for_another_one_that_migrates(empty: Database, folder: Path) -> None:
    other = await asyncpg.connect(empty.dsn())
    await other.execute("select pg_advisory_lock($1)", LOCK)
    waiting = asyncio.create_task(migrate(empty.dsn(), SERVICE, folder))
    async with asyncio.timeout(20):
        while not await other.fetchval(
            "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
        ):
            await asyncio.sleep(0.01)
    assert await owner_of(empty, "teas") is None
    await other.close()
    assert await asyncio.wait_for(waiting, 20) == [*SHARED, "0001_teas", "0002_cups"]
