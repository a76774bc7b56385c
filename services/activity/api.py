"""The RPCs of the activity service; promises stand in activity_service.proto."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.auth import current_caller
from chassis.clock import Clock, to_datetime, to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.errors import FieldViolation, InvalidArgument
from chassis.outbox import Relay
from chassis.server import Context
from services.activity import store
from services.activity.entry import ACTION_NUMBERS, ACTIONS, Entry, Window, parse
from services.activity.partitions import Partitions

SCOPES = {
    "RecordActivities": "activity:write",
    "ListActivities": "activity:read",
    "ListDayDigests": "activity:audit",
    "CountDay": "activity:audit",
}
DEFAULT_PAGE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID_TAKEN = ("activity_id", "activity.id_taken", "was recorded before with other content")


class ActivityApi(grpc_api.ActivityServiceServicer):
    """Serves the log of the tenant in the token."""

    def __init__(
        self, pool: Pool, relay: Relay, partitions: Partitions, clock: Clock, retention_days: int
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._partitions = partitions
        self._clock = clock
        self._retention_days = retention_days

    async def RecordActivities(
        self, request: pb.RecordActivitiesRequest, context: Context
    ) -> pb.RecordActivitiesResponse:
        """Append a batch, all or what is valid."""
        batch = _Batch(request, self._clock(), self._retention_days)
        if batch.refused and not request.partial_success:
            raise batch.refusal()
        await self._partitions.cover(batch.unique)
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            recorded = await store.record(connection, tenant_id, batch.unique)
            batch.refuse_conflicting(recorded.conflicting)
            if batch.refused and not request.partial_success:
                raise batch.refusal()  # rolls back
        self._relay.wake()
        return batch.response(len(recorded.added))

    async def ListActivities(
        self, request: pb.ListActivitiesRequest, context: Context
    ) -> pb.ListActivitiesResponse:
        """Read a page, newest first."""
        size = request.page_size or DEFAULT_PAGE
        tenant_id = current_caller().tenant_id
        after = _cursor(request.page_token) if request.page_token else None
        async with tenant_transaction(self._pool, tenant_id) as connection:
            rows = await store.list_page(connection, tenant_id, _filter(request), after, size + 1)
        page = rows[:size]
        more = len(rows) > size
        return pb.ListActivitiesResponse(
            activities=[_activity(row) for row in page],
            next_page_token=_page_token(page[-1]) if more else "",
        )

    async def ListDayDigests(
        self, request: pb.ListDayDigestsRequest, context: Context
    ) -> pb.ListDayDigestsResponse:
        """Give each tenant's count and digest of one day."""
        async with self._pool.acquire() as connection:
            rows = await store.day_digests(connection, parse_date("date", request.date))
        return pb.ListDayDigestsResponse(
            digests=[
                pb.DayDigest(
                    tenant_id=str(row["tenant_id"]),
                    activity_count=row["activity_count"],
                    digest=row["digest"],
                    unpublished_events=row["unpublished_events"],
                )
                for row in rows
            ]
        )

    async def CountDay(self, request: pb.CountDayRequest, context: Context) -> pb.CountDayResponse:
        """Count one tenant's day by user and action."""
        tenant_id = UUID(request.tenant_id)
        day = parse_date("date", request.date)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            rows = await store.count_day(connection, tenant_id, day)
        return pb.CountDayResponse(counts=[_action_count(row) for row in rows])


class _Batch:
    """A request's entries on their way: parsed, freed of repeats, and answered in order."""

    def __init__(
        self, request: pb.RecordActivitiesRequest, now: datetime, retention_days: int
    ) -> None:
        window = Window.at(now, retention_days)
        parsed = [parse(new, window, now) for new in request.activities]
        self.entries = [each if isinstance(each, Entry) else None for each in parsed]
        self.refused = {i: each for i, each in enumerate(parsed) if not isinstance(each, Entry)}
        first: dict[tuple[UUID, datetime], Entry] = {}
        for index, entry in enumerate(self.entries):
            if entry and first.setdefault(entry.key, entry).content != entry.content:
                self.refused[index] = [FieldViolation(*_ID_TAKEN)]
        self.unique = list(first.values())

    def refuse_conflicting(self, keys: Iterable[tuple[UUID, datetime]]) -> None:
        taken = set(keys)
        for index, entry in enumerate(self.entries):
            if entry and entry.key in taken:
                self.refused.setdefault(index, [FieldViolation(*_ID_TAKEN)])

    def refusal(self) -> InvalidArgument:
        return InvalidArgument.of(
            [
                FieldViolation(f"activities[{index}].{each.field}", each.rule, each.message)
                for index, violations in sorted(self.refused.items())
                for each in violations
            ]
        )

    def response(self, recorded: int) -> pb.RecordActivitiesResponse:
        return pb.RecordActivitiesResponse(
            activity_ids=[
                str(entry.activity_id) if entry and index not in self.refused else ""
                for index, entry in enumerate(self.entries)
            ],
            recorded_count=recorded,
            duplicate_count=len(self.entries) - len(self.refused) - recorded,
            refused_entries=[
                pb.RefusedEntry(index=i, field=each.field, rule=each.rule, message=each.message)
                for i, violations in sorted(self.refused.items())
                for each in violations[:1]
            ],
        )


def parse_date(field: str, text: str) -> date:
    """Return the day, or refuse one that the calendar does not have."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument.field(field, "date", "must be a day, YYYY-MM-DD") from None


def _filter(request: pb.ListActivitiesRequest) -> store.Filter:
    return store.Filter(
        user_ids=[UUID(each) for each in request.user_ids] or None,
        action_types=[ACTIONS[each] for each in request.action_types] or None,
        start_time=_time(request, "start_time"),
        end_time=_time(request, "end_time"),
    )


def _time(request: pb.ListActivitiesRequest, field: str) -> datetime | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    try:
        return to_datetime(getattr(request, field))
    except (ValueError, OverflowError):
        raise InvalidArgument.field(field, "timestamp", "must be a valid time") from None


def _page_token(row: asyncpg.Record) -> str:
    microseconds = (row["created_at"] - _EPOCH) // timedelta(microseconds=1)
    packed = struct.pack(">q16s", microseconds, row["activity_id"].bytes)
    return base64.urlsafe_b64encode(packed).decode()


def _cursor(token: str) -> store.Cursor:
    try:
        microseconds, key = struct.unpack(">q16s", base64.urlsafe_b64decode(token))
        return store.Cursor(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=key))
    except (ValueError, OverflowError, struct.error):
        text = "must be the next_page_token of a page before"
        raise InvalidArgument.field("page_token", "page_token", text) from None


def _activity(row: asyncpg.Record) -> pb.Activity:
    return pb.Activity(
        activity_id=str(row["activity_id"]),
        user_id=str(row["user_id"]),
        action_type=ACTION_NUMBERS[row["action_type"]],
        target_id=row["target_id"],
        metadata_json=row["metadata"],
        created_at=to_timestamp(row["created_at"]),
        recorded_at=to_timestamp(row["recorded_at"]),
        ip_address=row["ip_address"] or "",
        user_agent=row["user_agent"],
    )


def _action_count(row: asyncpg.Record) -> pb.ActionCount:
    return pb.ActionCount(
        user_id=str(row["user_id"]),
        action_type=ACTION_NUMBERS[row["action_type"]],
        new_list=row["new_list"],
        activity_count=row["activity_count"],
        digest=row["digest"],
    )
