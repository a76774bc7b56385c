"""Migrations: numbered plain SQL, forward only, applied once, by many replicas at the same time.

A service's schema is `chassis/foundation/*.sql` (roles, outbox, inbox; the same for each), then the
files of its own `migrations/`. Creating roles needs a superuser: such a connection does it by
itself (development, tests); any other expects that an administrator ran what `roles_of` gives.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from chassis.database import connect_as_owner
from chassis.errors import OperatorError
from chassis.postgres.refusals import without_values

FOUNDATION = Path(__file__).parent / "foundation"
LOCK = 0x70726F73  # one lock for all services: "pros"


class MigrationError(OperatorError):
    """A migration failed, or one that was applied has been edited since."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, known by its name."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def roles_of(service: str, folder: Path) -> str:
    """Return the SQL that creates the service's roles and schema."""
    own = folder / "roles.sql"
    texts = [FOUNDATION / "roles.sql"] + ([own] if own.exists() else [])
    return "\n".join(_filled(path, service) for path in texts)


def migrations_of(service: str, folder: Path) -> list[Migration]:
    """Return the foundation's files, then the service's own, each in the order of their numbers."""
    shared = [
        Migration(f"foundation_{path.stem}", _filled(path, service))
        for path in sorted(FOUNDATION.glob("[0-9]*.sql"))
    ]
    own = sorted((folder / "migrations").glob("[0-9]*.sql"))
    return shared + [Migration(path.stem, path.read_text()) for path in own]


async def migrate(
    dsn: str, service: str, folder: Path, tls: ssl.SSLContext | None = None
) -> list[str]:
    """Bring the schema `service` up to date; return the names of what was applied now."""
    connection = await connect_as_owner(dsn, tls)
    try:
        # Held until the connection closes: replicas that start together wait for each other.
        await connection.execute("select pg_advisory_lock($1)", LOCK)
        if await connection.fetchval("select rolsuper from pg_roles where rolname = current_user"):
            await connection.execute(roles_of(service, folder))
            await connection.execute(f"set role {service}_owner")
        await connection.execute(f"set search_path = {service}")
        return await _apply_pending(connection, service, migrations_of(service, folder))
    finally:
        await connection.close()


async def _apply_pending(
    connection: asyncpg.Connection, service: str, migrations: list[Migration]
) -> list[str]:
    await connection.execute(
        "create table if not exists schema_migrations ("
        " name text primary key, checksum text not null,"
        " applied_at timestamptz not null default now())"
    )
    # A service asks before it serves (chassis/postgres/schema_check.py).
    await connection.execute(f"grant select on schema_migrations to {service}_app")
    rows = await connection.fetch("select name, checksum from schema_migrations")
    applied = {row["name"]: row["checksum"] for row in rows}
    done = []
    for migration in migrations:
        if migration.name in applied:
            _refuse_edited(migration, applied[migration.name])
            continue
        await _apply(connection, migration)
        done.append(migration.name)
    return done


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into schema_migrations (name, checksum) values ($1, $2)",
                migration.name,
                migration.checksum,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.name} failed: {without_values(error)}") from None


def _filled(path: Path, service: str) -> str:
    return path.read_text().replace("__service__", service)


def _refuse_edited(migration: Migration, checksum: str) -> None:
    if migration.checksum != checksum:
        raise MigrationError(
            f"{migration.name} was edited after it was applied; write a new migration instead"
        )
