"""The RPCs that read the log: one entry, a page."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import to_micros
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument, NotFound
from chassis.interceptor import Context, preserialized
from chassis.paging import Cursor, read_cursor
from chassis.tokens import ContinuationTokens, TokenKeys
from chassis.validation import parse_time
from services.activity import sql
from services.activity.entries.actions import ActionNumbers
from services.activity.entries.batch import time_of_id
from services.activity.entries.encoding import id_of, micros_of, response_of
from services.activity.entries.filters import (
    EARLIEST_MICROS,
    LATEST_MICROS,
    parse_filter,
    refusing_bad_metadata,
)
from services.activity.reading import store
from services.activity.reading.store import Page

DEFAULT_PAGE = 100
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


class ReadingRpc:
    """Reads the log of the caller's tenant; `pool` is that for pages."""

    def __init__(self, pool: Pool, actions: ActionNumbers, token_keys: TokenKeys) -> None:
        self._pool = pool
        self._actions = actions
        self._token_keys = token_keys

    async def GetActivity(
        self, request: pb.GetActivityRequest, context: Context
    ) -> pb.GetActivityResponse:
        """Read one entry."""
        tenant_id = current_caller().tenant_id
        for start, end in _ranges(request):
            read = partial(store.get, self._pool, tenant_id, request.activity_id, start, end)
            rows = await self._actions.learning(self._pool, read)
            if rows:
                return pb.GetActivityResponse.FromString(response_of(rows)[0])
        text = f"there is no activity {request.activity_id}"
        raise NotFound(text, reason="ACTIVITY_NOT_FOUND")

    async def ListActivities(
        self, request: pb.ListActivitiesRequest, context: Context
    ) -> pb.ListActivitiesResponse:
        """Read a page."""
        tenant_id = current_caller().tenant_id
        wanted = parse_filter(request.filter)
        newest_first = request.order_by in ("", "created_at desc")
        tokens = ContinuationTokens(
            self._token_keys, "list", tenant_id, request.filter, newest_first
        )
        after = read_cursor(tokens, request.page_token)
        size = request.page_size or DEFAULT_PAGE
        page = Page(wanted, after, size + 1, newest_first)
        rows = await self._actions.learning(self._pool, partial(self._read, tenant_id, page))
        content, fits = response_of(rows[:size])
        if fits < len(rows):
            token = _cursor(rows[fits - 1]).token(tokens)
            content += pb.ListActivitiesResponse(next_page_token=token).SerializeToString()
        return preserialized(pb.ListActivitiesResponse, content)

    async def _read(self, tenant_id: UUID, page: Page) -> list[asyncpg.Record]:
        if page.wanted.metadata is None:
            return await store.list_page(self._pool, tenant_id, page)
        with refusing_bad_metadata():
            async with tenant_transaction(self._pool, tenant_id, plans=sql.BY_VALUE) as connection:
                return await store.list_page_by_metadata(connection, tenant_id, page)


def _ranges(request: pb.GetActivityRequest) -> list[tuple[int, int]]:
    """Return the ranges of time in which to look for an entry, the likeliest first."""
    if request.HasField("created_at"):
        parse_time("created_at", request.created_at)
        moment = to_micros(request.created_at)
        return [(moment, moment + 1)]
    implied = time_of_id(request.activity_id)
    if implied is None:
        text = "must be sent with an activity_id that is not of version 7"
        raise InvalidArgument.field("created_at", "activity.created_at_with_id", text)
    return [
        (max(implied - margin, EARLIEST_MICROS), min(implied + margin + 1, LATEST_MICROS))
        for margin in (_SECOND, _DAY)
    ]


def _cursor(last: asyncpg.Record) -> Cursor:
    return Cursor(micros_of(last["created_at"]), UUID(id_of(last["entry"])))
