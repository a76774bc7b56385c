"""Postgres: the pool, transactions under a tenant or a narrow role, and SQL kept in files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy
    Pool = asyncpg.Pool

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


async def open_pool(dsn: str, *, schema: str, size: int) -> Pool:
    """Open a pool whose connections see `schema` first, and fail early where Postgres is away."""
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=10,
        command_timeout=60,
        reset=_nothing_to_reset,
        server_settings={"search_path": schema, "application_name": f"prospect-{schema}"},
    )


async def _nothing_to_reset(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Save asyncpg's round trip on each release: all that we set ends with its transaction."""


@asynccontextmanager
async def tenant_transaction(pool: Pool, tenant_id: UUID) -> AsyncIterator[Connection]:
    """Open a transaction that sees and writes the rows of one tenant only.

    The setting ends with the transaction, so a pooled connection never carries a tenant over.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select set_config('app.current_tenant_id', $1, true)", str(tenant_id)
        )
        yield connection


@asynccontextmanager
async def role_transaction(pool: Pool, role: str) -> AsyncIterator[Connection]:
    """Open a transaction as one of the service's narrow roles, for work across tenants."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select set_config('role', $1, true)", role)
        yield connection


class Queries:
    """The named statements of one .sql file; `-- name: x` begins each."""

    def __init__(self, path: Path) -> None:
        parts = _NAME.split(path.read_text())
        self.statements = dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))

    def __getattr__(self, name: str) -> str:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"no query is named {name}") from None
