"""Prospects, runs and attempts as the RPCs read them, on a connection in a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from prospect.enrichment.v1 import prospect_pb2

from chassis.database import Connection, Pool, retry_if_aborted, tenant_transaction
from chassis.errors import found
from services.enrichment.reading import messages
from services.enrichment.run.records import steps_of
from services.enrichment.run.state import Step
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sql import SQL

RunRow = tuple[asyncpg.Record, Mapping[SourceName, Step]]
Cursor = tuple[datetime, UUID]
"""The last row of the page before: when it was created, and its id."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; None does not narrow, `created_until` is excluded."""

    prospect_id: UUID | None = None
    statuses: list[str] | None = None
    missing: str | None = None
    error_class: str | None = None
    created_from: datetime | None = None
    created_until: datetime | None = None
    batch_id: UUID | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it takes every run."""
        return self == RunFilter()

    def values(self) -> tuple[object, ...]:
        """Return the parameters $4 to $9 of the statements that take a filter."""
        return (
            self.prospect_id,
            self.statuses,
            self.missing,
            self.error_class,
            self.created_from,
            self.created_until,
        )


@dataclass(frozen=True, slots=True)
class ProspectFilter:
    """Which prospects; None does not narrow. Without a source any may have the source status."""

    statuses: list[str] | None = None
    source: str | None = None
    source_status: str | None = None
    stale_before: datetime | None = None


async def get_run(connection: Connection, tenant_id: UUID, run_id: UUID) -> RunRow | None:
    """Return a run and its steps."""
    run = await connection.fetchrow(SQL.get_run, tenant_id, run_id)
    return run_row(run) if run else None


async def run_message(pool: Pool, tenant_id: UUID, run_id: UUID) -> prospect_pb2.Run:
    """Return a run of the tenant as a message, read in a transaction of its own."""

    async def transaction() -> RunRow | None:
        async with tenant_transaction(pool, tenant_id) as connection:
            return await get_run(connection, tenant_id, run_id)

    return messages.run_message(*found(await retry_if_aborted(transaction), "run", run_id))


async def get_prospect(
    connection: Connection, tenant_id: UUID, prospect_id: UUID
) -> asyncpg.Record | None:
    """Return a prospect with all that was found."""
    return await connection.fetchrow(SQL.get_prospect, tenant_id, prospect_id)


async def list_runs(
    connection: Connection, tenant_id: UUID, wanted: RunFilter, after: Cursor | None, limit: int
) -> list[RunRow]:
    """Return up to `limit` runs beyond the cursor, newest first."""
    values = (tenant_id, *(after or (None, None)), *wanted.values(), limit)
    if wanted.batch_id is None:
        rows = await connection.fetch(SQL.list_runs, *values)
    else:
        rows = await connection.fetch(SQL.list_runs_of_batch, *values, wanted.batch_id)
    return [run_row(row) for row in rows]


async def get_batch_progress(
    connection: Connection, tenant_id: UUID, batch_id: UUID
) -> asyncpg.Record | None:
    """Return a batch's progress."""
    return await connection.fetchrow(SQL.batch_progress, tenant_id, batch_id)


async def list_ended_in_batch(
    connection: Connection, tenant_id: UUID, batch_id: UUID, after: int, limit: int
) -> list[RunRow]:
    """Return up to `limit` runs of a batch that have ended, in the order of their ends."""
    rows = await connection.fetch(SQL.list_ended_in_batch, tenant_id, batch_id, after, limit)
    return [run_row(row) for row in rows]


async def list_attempts(
    connection: Connection, tenant_id: UUID, run_id: UUID
) -> list[asyncpg.Record]:
    """Return a run's calls, in the order in which they left."""
    return await connection.fetch(SQL.list_attempts, tenant_id, run_id)


async def list_prospects(
    connection: Connection,
    tenant_id: UUID,
    wanted: ProspectFilter,
    after: Cursor | None,
    limit: int,
) -> list[RunRow]:
    """Return up to `limit` prospects beyond the cursor, newest first, with their steps."""
    chosen = (wanted.statuses, wanted.source, wanted.source_status, wanted.stale_before)
    values = (tenant_id, *(after or (None, None)), *chosen, limit)
    return [run_row(row) for row in await connection.fetch(SQL.list_prospects, *values)]


def run_row(row: asyncpg.Record) -> RunRow:
    """Return a row with its steps as values."""
    return row, steps_of(row["steps"])
