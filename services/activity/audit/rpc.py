"""The RPCs with which metrics proves its roll-up equal to the log: digests and counts only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import Clock
from chassis.database import Connection, Pool, tenant_snapshot, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from services.activity import sql
from services.activity.audit import store
from services.activity.entries.actions import ActionNumbers
from services.activity.retention import store as retention_store

# Counts in a message: some 100 KB of the 4 MiB that gRPC takes by default.
MAX_COUNTS = 1_000

NOTHING = store.Unpublished()


class AuditRpc:
    """Gives counts and digests of all tenants, and no content."""

    def __init__(
        self, pool: Pool, actions: ActionNumbers, clock: Clock, retention: timedelta
    ) -> None:
        self._pool = pool
        self._actions = actions
        self._clock = clock
        self._retention = retention

    async def ListDayDigests(
        self, request: pb.ListDayDigestsRequest, context: Context
    ) -> pb.ListDayDigestsResponse:
        """Return each tenant's count and digest of one day."""
        day, today = _day(request.date), self._clock().date()
        async with self._pool.acquire() as connection:
            rows = await store.day_digests(connection, day)
            past = set(await store.tenants_past(connection, day, today))
            dropped_before = await retention_store.dropped_before(connection)
        # Read after the digests, so that it has the unpublished events of all that they count.
        unpublished = await store.unpublished(self._pool)
        digests = {
            row["tenant_id"]: _digest(row, unpublished.get(row["tenant_id"], NOTHING))
            for row in rows
            if row["tenant_id"] not in past
        }
        digests |= {each: pb.DayDigest(tenant_id=str(each), expired=True) for each in past}
        return pb.ListDayDigestsResponse(
            digests=[digests[each] for each in sorted(digests)],
            expired=day < max(today - self._retention, dropped_before.date()),
        )

    async def CountDay(self, request: pb.CountDayRequest, context: Context) -> pb.CountDayResponse:
        """Count one tenant's day by user and action."""
        tenant_id = UUID(request.tenant_id)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            rows = await store.count_day(
                connection, tenant_id, _day(request.date), request.by_quarter_hour
            )
            return pb.CountDayResponse(counts=await self._counts_of(connection, rows))

    async def StreamDayCounts(
        self, request: pb.StreamDayCountsRequest, context: Context
    ) -> AsyncIterator[pb.StreamDayCountsResponse]:
        """Count one tenant's day by user, action and quarter-hour, in several messages."""
        tenant_id, day = UUID(request.tenant_id), _day(request.date)
        async with tenant_snapshot(self._pool, tenant_id) as connection:
            cursor = await connection.cursor(sql.SQL.count_day, tenant_id, day, True)
            while rows := await cursor.fetch(MAX_COUNTS):
                yield pb.StreamDayCountsResponse(counts=await self._counts_of(connection, rows))

    async def _counts_of(
        self, connection: Connection, rows: list[asyncpg.Record]
    ) -> list[pb.ActionCount]:
        await self._actions.learn(connection, (row["action_type"] for row in rows))
        return [
            pb.ActionCount(
                user_id=str(row["user_id"]),
                action_type=self._actions.of(row["action_type"]),
                new_list=row["new_list"],
                activity_count=row["activity_count"],
                digest=row["digest"],
                quarter_hour=row["quarter_hour"],
            )
            for row in rows
        ]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument.field("date", "date", "must be a day, YYYY-MM-DD") from None


def _digest(row: asyncpg.Record, unpublished: store.Unpublished) -> pb.DayDigest:
    return pb.DayDigest(
        tenant_id=str(row["tenant_id"]),
        activity_count=row["activity_count"],
        digest=row["digest"],
        unpublished_events=unpublished.count,
        first_unpublished=unpublished.first,
        last_unpublished=unpublished.last,
        published_sequence=unpublished.published,
    )
