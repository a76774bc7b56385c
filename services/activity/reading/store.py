"""The SQL of reading: entries, pages, counts, lines of exports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from chassis.database import Connection, Pool, read
from chassis.paging import Cursor
from services.activity.entries.filters import Filter, not_json
from services.activity.sql import SQL

# Where at most so many entries have the wanted metadata, they are found by the index and sorted.
MAX_SORTED = 10_000
EXPORT_ROWS = 500
_LOWEST = UUID(int=0)
_HIGHEST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Page:
    """Which page is wanted: up to `limit` entries after a cursor."""

    wanted: Filter
    after: Cursor | None
    limit: int
    newest_first: bool

    def order(self) -> str:
        """Return the name of the statement that reads in the page's order."""
        return "list_newest" if self.newest_first else "list_oldest"

    def values(self) -> tuple[object, ...]:
        """Return the parameters $2 to $10 of the statements that read a page."""
        # The range ends at the cursor, so that only the partitions beyond it are looked at.
        wanted = self.wanted
        if self.newest_first:
            after = self.after or Cursor(wanted.end, _LOWEST)
            wanted = replace(wanted, end=min(wanted.end, after.micros + 1))
        else:
            after = self.after or Cursor(wanted.start - 1, _HIGHEST)
            wanted = replace(wanted, start=max(wanted.start, after.micros))
        return (*wanted.values(), after.micros, after.row_id, self.limit)


@dataclass(frozen=True, slots=True)
class Grouping:
    """What counts are grouped by; period is `day`, `hour` or nothing."""

    period: str | None
    user: bool
    action: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The last group of the previous page; its period in seconds since 1970."""

    period: int
    user_id: UUID
    action_type: str


async def get(
    pool: Pool, tenant_id: UUID, activity_id: str, start: int, end: int
) -> list[asyncpg.Record]:
    """Return the entry of this id in a range of time, if there is one."""
    return await read(pool, SQL.get, tenant_id, start, end, activity_id)


async def list_page(pool: Pool, tenant_id: UUID, page: Page) -> list[asyncpg.Record]:
    """Return the rows of a page."""
    name = page.order()
    if page.wanted.user_ids:
        name += "_by_user"
    elif page.wanted.action_types:
        name += "_by_action"
    return await read(pool, SQL.statements[name], tenant_id, *page.values())


async def list_page_by_metadata(
    connection: Connection, tenant_id: UUID, page: Page
) -> list[asyncpg.Record]:
    """Return the rows of a page by metadata, in a transaction that plans for its values."""
    name, values = page.order(), page.values()
    start, end, *_, metadata = values[:6]
    # The planner cannot know whether the index of metadata or the order is the better start.
    if await connection.fetchval(SQL.few_contain, tenant_id, start, end, metadata, MAX_SORTED):
        name += "_of_few"
    return await connection.fetch(SQL.statements[name], tenant_id, *values)


async def list_keys(
    pool: Pool, tenant_id: UUID, wanted: Filter, keys: Sequence[tuple[str, int]]
) -> list[asyncpg.Record]:
    """Return the entries of these keys (id, microseconds) that match, in the order of the keys."""
    moments = [moment for _, moment in keys]
    within = replace(
        wanted, start=max(wanted.start, min(moments)), end=min(wanted.end, max(moments) + 1)
    )
    ids = [activity_id for activity_id, _ in keys]
    return await read(pool, SQL.list_keys, tenant_id, *within.values(), ids, moments)


async def count(
    connection: Connection,
    tenant_id: UUID,
    wanted: Filter,
    grouping: Grouping,
    after: Group | None,
    limit: int,
) -> list[asyncpg.Record]:
    """Return up to `limit` groups after the last one, with their counts."""
    return await connection.fetch(
        SQL.count,
        tenant_id,
        *wanted.values(),
        grouping.period,
        grouping.user,
        grouping.action,
        after.period if after else None,
        after.user_id if after else None,
        after.action_type if after else None,
        limit,
    )


async def check_metadata(pool: Pool, wanted: Filter) -> None:
    """Refuse metadata that PostgreSQL does not take, before a stream has begun."""
    if wanted.metadata and not await pool.fetchval(SQL.is_json, wanted.metadata):
        raise not_json()


async def plan_export(connection: Connection) -> None:
    """Have an export read in order."""
    await connection.execute(SQL.plan_export)


async def export(
    connection: Connection, tenant_id: UUID, wanted: Filter, name: str
) -> AsyncIterator[list[str]]:
    """Yield the lines of a file, oldest first, some at a time."""
    statement = SQL.statements[f"export_{name}"]
    cursor = await connection.cursor(statement, tenant_id, *wanted.values())
    while rows := await cursor.fetch(EXPORT_ROWS):
        yield [row["line"] for row in rows]
