"""GetTenantSummary and ListTopUsers: a range of days summed up, and who did most in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from uuid import UUID

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import Connection, Pool, tenant_snapshot, tenant_transaction
from chassis.interceptor import Context
from chassis.tokens import ContinuationTokens, TokenKeys
from services.metrics import store
from services.metrics.counters import COUNTERS
from services.metrics.sql import SQL
from services.metrics.usage import periods
from services.metrics.usage.calendar import DAY, Calendar, LocalDays
from services.metrics.usage.parse import counters_of, position_of, read_number, span_of, sum_of
from services.metrics.usage.periods import Period

DEFAULT_TOP = 10


class SummaryRpc:
    """Sums up the usage of the caller's tenant."""

    def __init__(self, pool: Pool, token_keys: TokenKeys, calendar: Calendar) -> None:
        self._pool = pool
        self._token_keys = token_keys
        self._calendar = calendar

    async def GetTenantSummary(
        self, request: pb.GetTenantSummaryRequest, context: Context
    ) -> pb.GetTenantSummaryResponse:
        """Sum up a range and the one before, both as they are at one moment."""
        tenant_id = current_caller().tenant_id
        first, last = span_of(request.start_date, request.end_date)
        length = last - first + DAY
        async with tenant_snapshot(self._pool, tenant_id) as connection:
            zone = await store.time_zone(connection, tenant_id)
            spans = ((first, last), (first - length, first - DAY))
            current, previous = [
                await _summary(
                    connection, tenant_id, span, await self._calendar.days(connection, zone, *span)
                )
                for span in spans
            ]
        return pb.GetTenantSummaryResponse(current=current, previous=previous, time_zone=zone)

    async def ListTopUsers(
        self, request: pb.ListTopUsersRequest, context: Context
    ) -> pb.ListTopUsersResponse:
        """List those with the most of a counter."""
        tenant_id, span = current_caller().tenant_id, span_of(request.start_date, request.end_date)
        counter = COUNTERS[request.counter or pb.COUNTER_TOTAL_ACTIVITIES]
        tokens = ContinuationTokens(self._token_keys, "top", tenant_id, request)
        size = request.page_size or DEFAULT_TOP
        position = position_of(tokens, request.page_token, read_number, read_number, UUID)
        rank, count, user = position or (0, None, None)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            rows = await connection.fetch(
                SQL.top_users, tenant_id, *span, counter, count, user, size + 1
            )
        users = [
            pb.TopUser(
                user_id=str(row["user_id"]),
                rank=rank + number,
                count=row["count"],
                counters=pb.Counters(**counters_of(row)),
            )
            for number, row in enumerate(rows[:size], start=1)
        ]
        response = pb.ListTopUsersResponse(users=users)
        if len(rows) > size:
            end = [users[-1].rank, users[-1].count, users[-1].user_id]
            response.next_page_token = tokens.issue(json.dumps(end).encode())
        return response


async def _summary(
    connection: Connection, tenant_id: UUID, span: tuple[date, date], local: LocalDays
) -> pb.UsageSummary:
    _, days = await store.totals(connection, tenant_id, *span)
    cuts = [cut(*span, local) for cut in (periods.days, periods.weeks, periods.months)]
    chosen = [period for cut in cuts for period in cut]
    first_days, last_days = [p.first_day for p in chosen], [p.last_day for p in chosen]
    rows = await connection.fetch(
        SQL.active_users, tenant_id, [span[0], *first_days], [span[1], *last_days]
    )
    active = iter([int(row["active_users"]) for row in rows])
    return pb.UsageSummary(
        start_date=span[0].isoformat(),
        end_date=span[1].isoformat(),
        totals=pb.Counters(**counters_of(sum_of(list(days.values())))),
        active_users=next(active),
        daily_active_users=_active(cuts[0], active),
        weekly_active_users=_active(cuts[1], active),
        monthly_active_users=_active(cuts[2], active),
    )


def _active(cut: Sequence[Period], active: Iterator[int]) -> list[pb.ActiveUsers]:
    return [
        pb.ActiveUsers(date=period.first_day.isoformat(), active_users=next(active))
        for period in cut
    ]
