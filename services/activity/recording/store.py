"""The SQL of recording: entries, their leaves and their event are written in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import asyncpg
from prospect.activity.v1 import events_pb2

from chassis import outbox
from chassis.clock import new_id
from chassis.database import Connection, Pool
from chassis.errors import FieldViolation
from chassis.messaging import OutgoingEvent
from services.activity.entries.actions import ACTION_NUMBERS
from services.activity.entries.batch import NO_ADDRESS, Columns
from services.activity.sql import SOURCE, SQL

# What PostgreSQL raises for the content of an entry; find_unstorable tells which entry it is.
UNSTORABLE = (asyncpg.DataError, asyncpg.CheckViolationError)


_UNSTORABLE_FIELDS = {
    "metadata_json": FieldViolation("metadata_json", "json", "must be JSON text"),
    "metadata_object": FieldViolation("metadata_json", "json.object", "must be a JSON object"),
    "metadata_size": FieldViolation(
        "metadata_json", "json.size", "must be at most 16,384 bytes with its numbers written out"
    ),
    "ip_address": NO_ADDRESS,
}


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of entries: how many were added, and the places of those whose key was taken.

    A duplicate has the content of the stored entry; a conflicting one has other content.
    """

    added_count: int
    duplicates: frozenset[int] = frozenset()
    conflicting: frozenset[int] = frozenset()


async def append_or_skip(connection: Connection, tenant_id: UUID, columns: Columns) -> Appended:
    """Append entries whose key is not taken, their leaves and the one event that tells of them."""
    batch_id = new_id()
    added = (
        await connection.fetchval(SQL.append_or_skip, tenant_id, batch_id, *columns.values()) or 0
    )
    appended, kept = Appended(added), columns
    if added < len(columns):
        appended, places = await _sort_skipped(connection, tenant_id, batch_id, columns)
        kept = columns.take(places)
    if added:
        await outbox.enqueue(connection, tenant_id, [_recorded_event(tenant_id, kept)])
    return appended


async def append_all_new(pool: Pool, tenant_id: UUID, columns: Columns) -> Appended:
    """Append entries in a transaction of their own; UniqueViolationError means a key is taken."""
    e = _recorded_event(tenant_id, columns)
    await pool.execute(
        SQL.append_all_new, tenant_id, new_id(), *columns.values(), e.event_id, e.subject,
        e.event_type, e.source, e.body, e.occurred_at, e.traceparent,
    )  # fmt: skip
    return Appended(len(columns))


async def _sort_skipped(
    connection: Connection, tenant_id: UUID, batch_id: UUID, columns: Columns
) -> tuple[Appended, list[int]]:
    """Return what became of entries some of whose keys were taken, and the places of added ones."""
    rows = await connection.fetch(SQL.keys_of_batch, tenant_id, batch_id)
    to_come = {(row["activity_id"], row["created_at"]) for row in rows}
    added, taken = [], []
    for place, key in enumerate(zip(columns.activity_ids, columns.created_at, strict=True)):
        if key in to_come:
            to_come.remove(key)
            added.append(place)
        else:
            taken.append(place)
    repeats = columns.take(taken)
    found = await connection.fetch(SQL.find_conflicting, tenant_id, *repeats.values()[:6])
    conflicting = frozenset(taken[row["place"]] for row in found)
    return Appended(len(added), frozenset(taken) - conflicting, conflicting), added


async def find_unstorable(
    connection: Connection, columns: Columns
) -> list[tuple[int, FieldViolation]]:
    """Return the places of the entries that PostgreSQL cannot store, each with its violation."""
    rows = await connection.fetch(SQL.find_unstorable, columns.metadata, columns.ip_addresses)
    return [(row["place"], _UNSTORABLE_FIELDS[row["fault"]]) for row in rows]


async def find_answer(
    connection: Connection, tenant_id: UUID, request_id: UUID
) -> asyncpg.Record | None:
    """Return the content hash and the answer of a request id; None where it is new."""
    return await connection.fetchrow(SQL.find_answer, tenant_id, request_id)


async def save_answer(
    connection: Connection, tenant_id: UUID, request_id: UUID, content_hash: bytes, answer: bytes
) -> bool:
    """Keep the answer to a request id; False means that another call has answered it meanwhile."""
    kept = await connection.fetchval(SQL.save_answer, tenant_id, request_id, content_hash, answer)
    return bool(kept)


def _recorded_event(tenant_id: UUID, columns: Columns) -> OutgoingEvent:
    message = events_pb2.ActivitiesRecorded(
        tenant_id=str(tenant_id),
        activity_ids=columns.activity_ids,
        user_ids=columns.user_ids,
        action_types=[ACTION_NUMBERS[each] for each in columns.action_types],
        created_at_micros=columns.created_at,
        new_lists=columns.new_lists(),
    )
    return OutgoingEvent.of(f"activity.recorded.{tenant_id}", message, SOURCE)
