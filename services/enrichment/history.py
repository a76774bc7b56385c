"""What the RPCs read of prospects, runs and attempts, on a connection in a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from chassis.database import Connection
from services.enrichment.findings import SourceName
from services.enrichment.run import Step
from services.enrichment.store import SQL, step_of

RunRow = tuple[asyncpg.Record, Mapping[SourceName, Step]]


async def get_run(connection: Connection, tenant_id: UUID, run_id: UUID) -> RunRow | None:
    """Return a run and its steps."""
    run = await connection.fetchrow(SQL.get_run, tenant_id, run_id)
    return run_row(run) if run else None


async def get_prospect(
    connection: Connection, tenant_id: UUID, prospect_id: UUID
) -> asyncpg.Record | None:
    """Return a prospect with all that was found."""
    return await connection.fetchrow(SQL.get_prospect, tenant_id, prospect_id)


def run_row(row: asyncpg.Record) -> RunRow:
    """Return a row of runs with its steps as values."""
    return row, {SourceName(each["source"]): step_of(each) for each in row["steps"]}
