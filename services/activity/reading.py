"""The RPCs that read the log: one entry, a page, counts."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import to_timestamp
from chassis.database import tenant_transaction
from chassis.errors import InvalidArgument
from chassis.server import Context
from services.activity import store
from services.activity.batch import ACTION_NUMBERS, ACTIONS
from services.activity.tools import Tools, parse_time

DEFAULT_PAGE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reading:
    """Reads the log of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def ListActivities(
        self, request: pb.ListActivitiesRequest, context: Context
    ) -> pb.ListActivitiesResponse:
        """Read a page."""
        size = request.page_size or DEFAULT_PAGE
        tenant_id = current_caller().tenant_id
        after = _cursor(request.page_token) if request.page_token else None
        wanted = _filter(request.filter)
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            rows = await store.list_page(connection, tenant_id, wanted, after, size + 1)
        page = rows[:size]
        more = len(rows) > size
        return pb.ListActivitiesResponse(
            activities=[_activity(row) for row in page],
            next_page_token=_page_token(page[-1]) if more else "",
        )


def _filter(wanted: pb.ActivityFilter) -> store.Filter:
    start = parse_time("filter.start_time", wanted.start_time)
    end = parse_time("filter.end_time", wanted.end_time)
    return store.Filter(
        user_ids=[UUID(each) for each in wanted.user_ids] or None,
        action_types=[ACTIONS[each] for each in wanted.action_types] or None,
        start_time=start if wanted.HasField("start_time") else None,
        end_time=end if wanted.HasField("end_time") else None,
    )


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
