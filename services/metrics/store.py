"""The roll-up in Postgres; functions take a connection in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2

from chassis.database import Connection, Queries

# The actions as SQL and docs write them, such as `login`.
ACTION_NAMES = {
    number: name.removeprefix("ACTION_TYPE_").lower()
    for name, number in activity_pb.ActionType.items()
}
SQL = Queries(Path(__file__).parent / "queries.sql")


@dataclass(frozen=True, slots=True)
class Digest:
    """A fingerprint of a tenant's day; equal ones mean equal sets of activities."""

    activity_count: int = 0
    digest: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of the page before."""

    date: date
    user_id: UUID


async def apply(
    connection: Connection, tenant_id: UUID, recorded: events_pb2.ActivitiesRecorded
) -> None:
    """Add a batch to the roll-up."""
    await connection.execute(
        SQL.apply,
        tenant_id,
        list(recorded.activity_ids),
        list(recorded.user_ids),
        [ACTION_NAMES[each] for each in recorded.action_types],
        list(recorded.created_at_micros),
        list(recorded.new_lists),
    )


async def usage(
    connection: Connection,
    tenant_id: UUID,
    days: tuple[date, date],
    user_ids: list[UUID] | None,
    after: Cursor | None,
    limit: int,
) -> list[asyncpg.Record]:
    """Return up to `limit` rows in the order of date and user."""
    first, last = days
    cursor = (after.date, after.user_id) if after else (None, None)
    return await connection.fetch(SQL.usage, tenant_id, first, last, user_ids, *cursor, limit)


async def day_digests(connection: Connection, day: date) -> dict[UUID, Digest]:
    """Return each tenant's fingerprint of what was counted on a UTC day."""
    rows = await connection.fetch(SQL.day_digests, day)
    return {row["tenant_id"]: Digest(row["activity_count"], row["digest"]) for row in rows}


async def lock_day(connection: Connection, tenant_id: UUID, day: date) -> Digest:
    """Hold one tenant's day still and return its fingerprint."""
    row = await connection.fetchrow(SQL.lock_day, tenant_id, day)
    assert row is not None  # noqa: S101 -- an aggregate always has its row
    return Digest(row["activity_count"], row["digest"])


async def rewrite_day(
    connection: Connection, tenant_id: UUID, day: date, counts: Sequence[activity_pb.ActionCount]
) -> None:
    """Replace one tenant's day by the log's counts."""
    await connection.execute(SQL.clear_day, tenant_id, day)
    await connection.execute(
        SQL.write_day,
        tenant_id,
        day,
        [each.user_id for each in counts],
        [ACTION_NAMES[each.action_type] for each in counts],
        [each.new_list for each in counts],
        [each.activity_count for each in counts],
        [Decimal(each.digest) for each in counts],
    )


async def note_reconciliation(
    connection: Connection, tenant_id: UUID, day: date, outcome: str, log: Digest, rollup: Digest
) -> None:
    """Remember how log and roll-up compared."""
    await connection.execute(
        SQL.note_reconciliation,
        tenant_id,
        day,
        outcome,
        log.activity_count,
        rollup.activity_count,
        log.digest,
        rollup.digest,
    )
