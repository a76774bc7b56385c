"""GetUsage: a range by hour, day, week or month, by user and action, with zeros; roll-ups only."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import to_timestamp
from chassis.database import Connection, Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from chassis.tokens import ContinuationTokens, TokenKeys
from services.metrics import store
from services.metrics.counters import COUNTERS
from services.metrics.sql import SQL
from services.metrics.usage import periods
from services.metrics.usage.calendar import Calendar, LocalDays
from services.metrics.usage.parse import Row, counters_of, position_of, read_index, span_of, sum_of
from services.metrics.usage.periods import Period

MAX_HOURLY_DAYS = 31
DEFAULT_PAGE = 1000
CUTS: dict[int, Callable[[date, date, LocalDays], list[Period]]] = {
    pb.USAGE_GRAIN_HOUR: periods.hours,
    pb.USAGE_GRAIN_DAY: periods.days,
    pb.USAGE_GRAIN_WEEK: periods.weeks,
    pb.USAGE_GRAIN_MONTH: periods.months,
}
BY_ACTION = sorted(COUNTERS.keys() - {pb.COUNTER_TOTAL_ACTIVITIES})
"""In the order of their numbers, which a page token goes by."""


class GetRpc:
    """Reads the usage of the caller's tenant."""

    def __init__(self, pool: Pool, token_keys: TokenKeys, calendar: Calendar) -> None:
        self._pool = pool
        self._token_keys = token_keys
        self._calendar = calendar

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        """Read a page of usage."""
        tenant_id, span = current_caller().tenant_id, span_of(request.start_date, request.end_date)
        if request.grain == pb.USAGE_GRAIN_UNSPECIFIED and request.group_by:
            raise InvalidArgument.field("group_by", "usage.grain", "needs a grain")
        if request.grain == pb.USAGE_GRAIN_HOUR and (span[1] - span[0]).days >= MAX_HOURLY_DAYS:
            text = f"must be at most {MAX_HOURLY_DAYS} days of hours"
            raise InvalidArgument.field("end_date", "range", text)
        tokens = ContinuationTokens(self._token_keys, "usage", tenant_id, request)
        after = position_of(tokens, request.page_token, *_parts(request))
        if _of_all(request):
            async with self._pool.acquire() as connection:
                zone, days = await store.totals(connection, tenant_id, *span)
                local = await self._calendar.days(connection, zone, *span)
            cut = CUTS[request.grain](*span, local)
            response, more = _page(request, zone, cut, _by_period(days, cut), after)
        else:
            async with tenant_transaction(self._pool, tenant_id) as connection:
                no_periods = request.grain == pb.USAGE_GRAIN_UNSPECIFIED
                page = _rows if no_periods else partial(_periods, self._calendar)
                response, more = await page(connection, tenant_id, request, span, after)
        if more is not None:
            response.next_page_token = tokens.issue(json.dumps(more).encode())
        return response


Answer = tuple[pb.GetUsageResponse, list[Any] | None]


def _of_all(request: pb.GetUsageRequest) -> bool:
    """Whether the totals of days answer a request: the most frequent kind, by one statement."""
    no_days = (pb.USAGE_GRAIN_UNSPECIFIED, pb.USAGE_GRAIN_HOUR)
    by_user = pb.USAGE_DIMENSION_USER in request.group_by
    return request.grain not in no_days and not by_user and not request.user_ids


def _parts(request: pb.GetUsageRequest) -> tuple[Callable[[Any], Any], ...]:
    """Return what reads the parts of a cursor: a day and a user; or a period, a user, a counter."""
    if request.grain == pb.USAGE_GRAIN_UNSPECIFIED:
        return date.fromisoformat, UUID
    by_user = pb.USAGE_DIMENSION_USER in request.group_by
    return read_index, (lambda part: str(UUID(part))) if by_user else str, read_index


def _users(request: pb.GetUsageRequest) -> list[UUID] | None:
    return [UUID(each) for each in request.user_ids] or None


async def _rows(
    connection: Connection,
    tenant_id: UUID,
    request: pb.GetUsageRequest,
    span: tuple[date, date],
    after: list[Any] | None,
) -> Answer:
    """Read days by user that have activity."""
    size = request.page_size or DEFAULT_PAGE
    cursor = after or (None, None)
    rows = await connection.fetch(SQL.usage, tenant_id, *span, _users(request), *cursor, size + 1)
    page = [
        pb.DailyUsage(date=row["date"].isoformat(), user_id=str(row["user_id"]), **counters_of(row))
        for row in rows[:size]
    ]
    more = [page[-1].date, page[-1].user_id] if len(rows) > size else None
    return pb.GetUsageResponse(rows=page), more


async def _periods(
    calendar: Calendar,
    connection: Connection,
    tenant_id: UUID,
    request: pb.GetUsageRequest,
    span: tuple[date, date],
    after: list[Any] | None,
) -> Answer:
    """Read periods, those with nothing too; the cursor is a period, a user and a counter."""
    size = request.page_size or DEFAULT_PAGE
    zone = await store.time_zone(connection, tenant_id)
    cut = CUTS[request.grain](*span, await calendar.days(connection, zone, *span))
    read = _by_user if pb.USAGE_DIMENSION_USER in request.group_by else _in_total
    found = await read(connection, tenant_id, request, cut, after, size + 1)
    return _page(request, zone, cut, [(row["period"], row) for row in found], after)


def _page(
    request: pb.GetUsageRequest,
    zone: str,
    cut: Sequence[Period],
    rows: Iterable[tuple[int, Row]],
    after: list[Any] | None,
) -> Answer:
    """Return what comes after the cursor of rows by the index of their period."""
    size = request.page_size or DEFAULT_PAGE
    by_action = pb.USAGE_DIMENSION_ACTION in request.group_by
    by_user = pb.USAGE_DIMENSION_USER in request.group_by
    usage: list[tuple[list[Any], pb.PeriodUsage]] = []
    for number, row in rows:
        user = str(row["user_id"]) if by_user else ""
        for counter in BY_ACTION if by_action else [0]:
            position = [number, user, counter]
            if after is None or position > after:
                usage.append((position, _period(cut[number], user, counter, row)))
    more = usage[size - 1][0] if len(usage) > size else None
    page = [each for _, each in usage[:size]]
    return pb.GetUsageResponse(periods=page, time_zone=zone), more


async def _in_total(
    connection: Connection,
    tenant_id: UUID,
    request: pb.GetUsageRequest,
    cut: Sequence[Period],
    after: list[Any] | None,
    limit: int,
) -> list[asyncpg.Record]:
    # By action, the period of the cursor may have counters left; else the page begins after it.
    by_action = pb.USAGE_DIMENSION_ACTION in request.group_by
    first = (after[0] if by_action else after[0] + 1) if after else 0
    statement, columns = _columns(request, cut, range(first, min(len(cut), first + limit)))
    sql = SQL.totals_by_quarters if statement == "quarters" else SQL.totals_of_users_by_days
    return await connection.fetch(sql, tenant_id, *columns, _users(request))


def _by_period(days: Mapping[date, Row], cut: Sequence[Period]) -> Iterator[tuple[int, Row]]:
    """Sum up the days of each period."""
    left = deque(days.items())
    for index, period in enumerate(cut):
        inside = []
        while left and left[0][0] <= period.last_day:
            inside.append(left.popleft()[1])
        yield index, sum_of(inside)


async def _by_user(
    connection: Connection,
    tenant_id: UUID,
    request: pb.GetUsageRequest,
    cut: Sequence[Period],
    after: list[Any] | None,
    limit: int,
) -> list[asyncpg.Record]:
    statement, columns = _columns(request, cut, range(len(cut)))
    sql = SQL.users_by_quarters if statement == "quarters" else SQL.users_by_days
    # By action, the user of the cursor may have counters left: it is read again.
    inclusive = pb.USAGE_DIMENSION_ACTION in request.group_by
    cursor = (after[0], UUID(after[1])) if after else (None, None)
    first, last = cut[0].first_day, cut[-1].last_day
    return await connection.fetch(
        sql, tenant_id, *columns, _users(request), first, last, *cursor, inclusive, limit
    )


def _columns(
    request: pb.GetUsageRequest, cut: Sequence[Period], indexes: range
) -> tuple[str, tuple[list[Any], ...]]:
    chosen = [cut[index] for index in indexes]
    if request.grain == pb.USAGE_GRAIN_HOUR:
        return "quarters", (list(indexes), [p.start for p in chosen], [p.end for p in chosen])
    return "days", (list(indexes), [p.first_day for p in chosen], [p.last_day for p in chosen])


def _period(period: Period, user: str, counter: int, row: Row) -> pb.PeriodUsage:
    # A submessage is given as a dict, and not copied after: pages are made of a thousand of these.
    counters = None if counter else counters_of(row)
    return pb.PeriodUsage(
        start_time=to_timestamp(period.start),
        end_time=to_timestamp(period.end),
        date=period.first_day.isoformat(),
        user_id=user,
        counter=counter,  # type: ignore[arg-type]
        count=row[COUNTERS[counter]] if counter else row["total_activities"],  # type: ignore[index]
        counters=counters,  # type: ignore[arg-type]
    )
