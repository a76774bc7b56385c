"""The activity log in Postgres; functions take a connection in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
from prospect.activity.v1 import events_pb2

from chassis import outbox
from chassis.clock import to_timestamp
from chassis.database import Connection, Queries
from chassis.messaging import OutgoingEvent
from services.activity.entry import ACTION_NUMBERS, Entry

SQL = Queries(Path(__file__).parent / "queries.sql")
SOURCE = "prospect/activity"
FIRST = datetime.fromisoformat("0001-01-02T00:00:00+00:00")
LAST = datetime.fromisoformat("9999-12-30T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: the keys that were added, and those taken by other content."""

    added: frozenset[tuple[UUID, datetime]]
    conflicting: frozenset[tuple[UUID, datetime]]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last entry of the page before."""

    created_at: datetime
    activity_id: UUID


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries to list; None does not narrow."""

    user_ids: list[UUID] | None = None
    action_types: list[str] | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None


async def record(connection: Connection, tenant_id: UUID, entries: Sequence[Entry]) -> Recorded:
    """Add entries and, in the same transaction, the one event that tells of them."""
    columns = _columns(entries)
    rows = await connection.fetch(SQL.record, tenant_id, *columns)
    added = frozenset((row["activity_id"], row["created_at"]) for row in rows)
    conflicting: frozenset[tuple[UUID, datetime]] = frozenset()
    taken = [entry for entry in entries if entry.key not in added]
    if taken:
        found = await connection.fetch(SQL.find_conflicting, tenant_id, *_columns(taken)[:6])
        conflicting = frozenset((row["activity_id"], row["created_at"]) for row in found)
    if added:
        event = _recorded_event(tenant_id, [e for e in entries if e.key in added])
        await outbox.enqueue(connection, tenant_id, [event])
    return Recorded(added, conflicting)


async def list_page(
    connection: Connection, tenant_id: UUID, wanted: Filter, after: Cursor | None, limit: int
) -> list[asyncpg.Record]:
    """Return up to `limit` rows, newest first."""
    return await connection.fetch(
        SQL.list,
        tenant_id,
        wanted.user_ids,
        wanted.action_types,
        wanted.start_time or FIRST,
        wanted.end_time or LAST,
        after.created_at if after else None,
        after.activity_id if after else None,
        limit,
    )


async def day_digests(connection: Connection, day: date) -> list[asyncpg.Record]:
    """Return each tenant's count and digest of one UTC day."""
    return await connection.fetch(SQL.day_digests, day)


async def count_day(connection: Connection, tenant_id: UUID, day: date) -> list[asyncpg.Record]:
    """Return one tenant's counts of one UTC day by user, action and new_list."""
    return await connection.fetch(SQL.count_day, tenant_id, day)


def _columns(entries: Sequence[Entry]) -> tuple[list[object], ...]:
    return (
        [e.activity_id for e in entries],
        [e.user_id for e in entries],
        [e.action_type for e in entries],
        [e.target_id for e in entries],
        [e.metadata for e in entries],
        [e.created_at for e in entries],
        [e.ip_address for e in entries],
        [e.user_agent for e in entries],
    )


def _recorded_event(tenant_id: UUID, entries: Sequence[Entry]) -> OutgoingEvent:
    message = events_pb2.ActivitiesRecorded(
        tenant_id=str(tenant_id),
        activities=[
            events_pb2.RecordedActivity(
                activity_id=str(e.activity_id),
                user_id=str(e.user_id),
                action_type=ACTION_NUMBERS[e.action_type],
                created_at=to_timestamp(e.created_at),
                new_list=e.new_list,
            )
            for e in entries
        ],
    )
    return OutgoingEvent.of(f"activity.recorded.{tenant_id}", message, SOURCE)
