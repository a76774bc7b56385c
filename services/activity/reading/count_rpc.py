"""CountActivities: how many entries match a filter, by group, in pages of groups."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from chassis.tokens import ContinuationTokens, TokenKeys
from services.activity import sql
from services.activity.entries.actions import ActionNumbers
from services.activity.entries.filters import Filter, parse_filter, refusing_bad_metadata
from services.activity.reading import store
from services.activity.reading.store import Group, Grouping

DEFAULT_GROUPS = 1_000


class CountRpc:
    """Counts the log of the caller's tenant."""

    def __init__(self, pool: Pool, actions: ActionNumbers, token_keys: TokenKeys) -> None:
        self._pool = pool
        self._actions = actions
        self._token_keys = token_keys

    async def CountActivities(
        self, request: pb.CountActivitiesRequest, context: Context
    ) -> pb.CountActivitiesResponse:
        """Count by group."""
        tenant_id = current_caller().tenant_id
        wanted, grouping = parse_filter(request.filter), _grouping(request)
        tokens = ContinuationTokens(
            self._token_keys, "count", tenant_id, request.filter, sorted(request.group_by)
        )
        after = (
            tokens.read("page_token", request.page_token, _group) if request.page_token else None
        )
        size = request.page_size or DEFAULT_GROUPS
        with refusing_bad_metadata():
            async with tenant_transaction(self._pool, tenant_id, plans=sql.BY_VALUE) as connection:
                rows = await store.count(
                    connection,
                    tenant_id,
                    _beyond(wanted, grouping, after),
                    grouping,
                    after,
                    size + 1,
                )
        page = rows[:size]
        if grouping.action:
            await self._actions.learn(self._pool, (row["action_type"] for row in page))
        counts = [self._count_of(row, grouping) for row in page]
        if not request.group_by and not counts:
            counts = [
                pb.ActivityCount(activity_count=0)
            ]  # without groups there is one count, also of no entries
        return pb.CountActivitiesResponse(
            counts=counts,
            next_page_token=tokens.issue(_position(page[-1])) if len(rows) > size else "",
        )

    def _count_of(self, row: asyncpg.Record, grouping: Grouping) -> pb.ActivityCount:
        count = pb.ActivityCount(activity_count=row["activity_count"])
        if grouping.period:
            # Sets the field also for 1970, which is 0 seconds.
            count.period_start.FromSeconds(row["period"])
        if grouping.user:
            count.user_id = row["user_id"]
        if grouping.action:
            count.action_type = self._actions.of(row["action_type"])
        return count


def _grouping(request: pb.CountActivitiesRequest) -> Grouping:
    chosen = set(request.group_by)
    periods = chosen & {pb.COUNT_DIMENSION_DAY, pb.COUNT_DIMENSION_HOUR}
    if len(periods) > 1:
        text = "must have at most one of day and hour"
        raise InvalidArgument.field("group_by", "count.one_period", text)
    by_day = pb.COUNT_DIMENSION_DAY in periods
    return Grouping(
        period=("day" if by_day else "hour") if periods else None,
        user=pb.COUNT_DIMENSION_USER in chosen,
        action=pb.COUNT_DIMENSION_ACTION_TYPE in chosen,
    )


def _beyond(wanted: Filter, grouping: Grouping, after: Group | None) -> Filter:
    """Return the filter without the periods of earlier pages, which need no counting again."""
    if grouping.period is None or after is None:
        return wanted
    return replace(wanted, start=max(wanted.start, after.period * 1_000_000))


def _position(row: asyncpg.Record) -> bytes:
    return json.dumps([row["period"], row["user_id"], row["action_type"]]).encode()


def _group(position: bytes) -> Group:
    period, user_id, action_type = json.loads(position)
    return Group(int(period), UUID(user_id), str(action_type))
