"""The activity log in Postgres; functions take a connection in the caller's transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
from prospect.activity.v1 import events_pb2

from chassis import outbox
from chassis.clock import new_id
from chassis.database import Connection, Plans, Pool, Queries, read, role_transaction
from chassis.errors import FieldViolation
from chassis.messaging import OutgoingEvent
from services.activity.batch import ACTION_NUMBERS, Columns
from services.activity.filters import Filter, not_json

SQL = Queries(Path(__file__).parent / "queries.sql")
SOURCE = "prospect/activity"
RELAY_ROLE = "activity_relay"
FIRST = datetime.fromisoformat("0001-01-02T00:00:00+00:00")
LAST = datetime.fromisoformat("9999-12-30T00:00:00+00:00")
# Up to how many entries are found by their metadata and sorted, rather than read in order.
FEW = 10_000
EXPORT_ROWS = 500
# What reads an index in order has one good plan, which is made once; what depends on how much there
# is of something is planned for its values.
IN_ORDER: Plans = "force_generic_plan"
BY_VALUE: Plans = "force_custom_plan"
_LOWEST = UUID(int=0)
_HIGHEST = UUID(int=2**128 - 1)

# What Postgres refuses of an entry's own content: its fault, and found by find_unstorable.
UNSTORABLE = (asyncpg.DataError, asyncpg.CheckViolationError)
_UNSTORABLE_FIELDS = {
    "metadata_json": FieldViolation("metadata_json", "json", "must be JSON text"),
    "metadata_object": FieldViolation("metadata_json", "json.object", "must be a JSON object"),
    "metadata_size": FieldViolation(
        "metadata_json", "json.size", "must be at most 16,384 bytes with its numbers written out"
    ),
    "ip_address": FieldViolation("ip_address", "string.ip", "must be an IP address"),
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: how many were added; which repeat an entry, which contradict one."""

    added_count: int
    duplicates: frozenset[int] = frozenset()
    conflicting: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last entry of the page before; its time in microseconds since 1970."""

    created_at: int
    activity_id: UUID


@dataclass(frozen=True, slots=True)
class Page:
    """Which page: up to `limit` entries beyond a cursor."""

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
            wanted = replace(wanted, end=min(wanted.end, after.created_at + 1))
        else:
            after = self.after or Cursor(wanted.start - 1, _HIGHEST)
            wanted = replace(wanted, start=max(wanted.start, after.created_at))
        return (*wanted.values(), after.created_at, after.activity_id, self.limit)


@dataclass(frozen=True, slots=True)
class Grouping:
    """What counts are grouped by; period is `day`, `hour` or nothing."""

    period: str | None
    user: bool
    action: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The last group of the page before; its period in seconds since 1970."""

    period: int
    user_id: UUID
    action_type: str


async def record(connection: Connection, tenant_id: UUID, columns: Columns) -> Recorded:
    """Add entries, their leaves and, in the same transaction, the one event that tells of them."""
    batch_id = new_id()
    added = await connection.fetchval(SQL.record, tenant_id, batch_id, *columns.values()) or 0
    recorded, kept = Recorded(added), columns
    if added < len(columns):
        recorded, places = await _sort_repeats(connection, tenant_id, batch_id, columns)
        kept = columns.take(places)
    if added:
        await outbox.enqueue(connection, tenant_id, [_recorded_event(tenant_id, kept)])
    return recorded


async def record_new(pool: Pool, tenant_id: UUID, columns: Columns) -> Recorded:
    """Do the same in a transaction of its own; UniqueViolationError means that a key is taken."""
    e = _recorded_event(tenant_id, columns)
    await pool.execute(
        SQL.record_new, tenant_id, new_id(), *columns.values(), e.event_id, e.subject, e.event_type,
        e.source, e.body, e.occurred_at, e.traceparent,
    )  # fmt: skip
    return Recorded(len(columns))


async def _sort_repeats(
    connection: Connection, tenant_id: UUID, batch_id: UUID, columns: Columns
) -> tuple[Recorded, list[int]]:
    """Tell the entries that were added from those whose key was taken, in the log or the batch."""
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
    return Recorded(len(added), frozenset(taken) - conflicting, conflicting), added


async def find_unstorable(
    connection: Connection, columns: Columns
) -> list[tuple[int, FieldViolation]]:
    """Return the entries that Postgres cannot store, by their place, each with its fault."""
    rows = await connection.fetch(SQL.find_unstorable, columns.metadata, columns.ip_addresses)
    return [(row["place"], _UNSTORABLE_FIELDS[row["fault"]]) for row in rows]


async def find_answer(
    connection: Connection, tenant_id: UUID, request_id: UUID
) -> asyncpg.Record | None:
    """Return the content hash and the answer of a request that was answered before."""
    return await connection.fetchrow(SQL.find_answer, tenant_id, request_id)


async def save_answer(
    connection: Connection, tenant_id: UUID, request_id: UUID, content_hash: bytes, answer: bytes
) -> bool:
    """Keep the answer to a request; False means that the same request was answered meanwhile."""
    kept = await connection.fetchval(SQL.save_answer, tenant_id, request_id, content_hash, answer)
    return bool(kept)


async def get(
    pool: Pool, tenant_id: UUID, activity_id: str, start: int, end: int
) -> list[asyncpg.Record]:
    """Return the entry of this id that happened in a range of time, if there is one."""
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
    """Do the same where metadata are wanted, in a transaction that plans by value."""
    name, values = page.order(), page.values()
    start, end, *_, metadata = values[:6]
    # What the planner cannot know: whether it is worth to begin with the metadata.
    if await connection.fetchval(SQL.few_contain, tenant_id, start, end, metadata, FEW):
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
    """Return up to `limit` groups beyond the last one, with their counts."""
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
    """Refuse what Postgres would not take, before a stream's first response has been sent."""
    if wanted.metadata and not await pool.fetchval(SQL.is_json, wanted.metadata):
        raise not_json()


async def plan_export(connection: Connection, patience: timedelta) -> None:
    """Have an export read in order, and ended by Postgres when its client stands still."""
    await connection.execute(SQL.plan_export, f"{patience // timedelta(milliseconds=1)}ms")


async def export(
    connection: Connection, tenant_id: UUID, wanted: Filter, name: str
) -> AsyncIterator[list[str]]:
    """Yield the lines of a file, some at a time, oldest first."""
    statement = SQL.statements[f"export_{name}"]
    cursor = await connection.cursor(statement, tenant_id, *wanted.values())
    while rows := await cursor.fetch(EXPORT_ROWS):
        yield [row["line"] for row in rows]


async def day_digests(connection: Connection, day: date) -> list[asyncpg.Record]:
    """Return each tenant's count and digest of one UTC day."""
    return await connection.fetch(SQL.day_digests, day)


async def unpublished(pool: Pool) -> dict[UUID, tuple[int, int]]:
    """Return where each tenant's first and last unpublished events stand."""
    async with role_transaction(pool, RELAY_ROLE) as connection:
        rows = await connection.fetch(SQL.unpublished)
    return {row["tenant_id"]: (row["first"], row["last"]) for row in rows}


async def count_day(
    connection: Connection, tenant_id: UUID, day: date, by_quarter_hour: bool
) -> list[asyncpg.Record]:
    """Return one tenant's counts of one UTC day by user, action and new_list."""
    return await connection.fetch(SQL.count_day, tenant_id, day, by_quarter_hour)


async def tenants_past(connection: Connection, day: date, today: date) -> list[UUID]:
    """Return the tenants that do not keep a day any more."""
    rows = await connection.fetch(SQL.tenants_past, day, today)
    return [row["tenant_id"] for row in rows]


async def list_partitions(connection: Connection) -> list[asyncpg.Record]:
    """Return the months of the log, oldest first."""
    return await connection.fetch(SQL.list_partitions)


async def begin_erasure(
    connection: Connection, tenant_id: UUID, receipt_id: UUID, user_id: UUID, now: datetime
) -> UUID:
    """Return the receipt for what is about to be erased: a new one, or that of one under way."""
    begun: UUID = await connection.fetchval(SQL.begin_erasure, tenant_id, receipt_id, user_id, now)
    return begun


async def lock_erasing(connection: Connection, tenant_id: UUID, user_id: UUID) -> None:
    """Wait until no other transaction erases this user."""
    await connection.execute(SQL.lock_erasing, tenant_id, user_id)


async def erase_some(
    connection: Connection, tenant_id: UUID, user_id: UUID, receipt_id: UUID, limit: int
) -> int:
    """Make up to `limit` entries of a user anonymous and return how many were found."""
    count = await connection.fetchval(SQL.erase_some, tenant_id, user_id, receipt_id, limit)
    return int(count)


async def complete_erasure(
    connection: Connection, tenant_id: UUID, receipt_id: UUID
) -> asyncpg.Record | None:
    """Forget whom a receipt is about; return it, None where that was done before."""
    return await connection.fetchrow(SQL.complete_erasure, tenant_id, receipt_id)


async def list_unfinished_erasures(connection: Connection) -> list[tuple[UUID, UUID]]:
    """Return tenant and receipt of each erasure to go on with; needs the keeper's role."""
    rows = await connection.fetch(SQL.list_unfinished_erasures)
    return [(row["tenant_id"], row["receipt_id"]) for row in rows]


async def get_erasure(connection: Connection, tenant_id: UUID, receipt_id: UUID) -> asyncpg.Record:
    """Return a receipt that was begun."""
    row = await connection.fetchrow(SQL.get_erasure, tenant_id, receipt_id)
    assert row is not None  # noqa: S101 -- begin_erasure wrote it
    return row


async def retention_days(connection: Connection, tenant_id: UUID) -> int | None:
    """Return a tenant's own retention, None where it has none."""
    days: int | None = await connection.fetchval(SQL.get_retention, tenant_id)
    return days


async def set_retention(connection: Connection, tenant_id: UUID, days: int) -> None:
    """Set a tenant's own retention; 0 takes it away."""
    if days:
        await connection.execute(SQL.set_retention, tenant_id, days)
    else:
        await connection.execute(SQL.unset_retention, tenant_id)


async def list_retentions(connection: Connection) -> list[tuple[UUID, int]]:
    """Return the tenants with a retention of their own; needs the keeper's role."""
    rows = await connection.fetch(SQL.list_retentions)
    return [(row["tenant_id"], row["retention_days"]) for row in rows]


async def expire_some(connection: Connection, tenant_id: UUID, before: datetime, limit: int) -> int:
    """Delete up to `limit` entries that happened before a time and return how many there were."""
    return int(await connection.fetchval(SQL.expire_some, tenant_id, before, limit))


async def mark_expired(connection: Connection, tenant_id: UUID, before: datetime) -> None:
    """Remember that what happened before a time is being deleted."""
    await connection.execute(SQL.mark_expired, tenant_id, before)


async def expired_before(connection: Connection, tenant_id: UUID) -> datetime:
    """Return the time up to which entries were ever deleted by retention."""
    moment: datetime | None = await connection.fetchval(SQL.get_expired_before, tenant_id)
    return moment or FIRST


async def dropped_before(connection: Connection) -> datetime:
    """Return the time before which months of the log were ever dropped."""
    moment: datetime | None = await connection.fetchval(SQL.get_dropped_before)
    return moment or FIRST


async def forget_requests(connection: Connection, before: datetime) -> None:
    """Forget the answers given before a time; needs the keeper's role."""
    await connection.execute(SQL.forget_requests, before)


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
