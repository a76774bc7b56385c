"""The RPCs of the metrics service; promises stand in metrics_service.proto."""

from __future__ import annotations

import base64
from datetime import date
from uuid import UUID

import asyncpg
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as grpc_api

from chassis.auth import current_caller
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.server import Context
from services.metrics import store

SCOPES = {"GetUsage": "metrics:read"}
MOST_DAYS = 366
DEFAULT_PAGE = 1000


class MetricsApi(grpc_api.MetricsServiceServicer):
    """Serves the usage of the tenant in the token."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        """Read a page of usage by day and user."""
        tenant_id = current_caller().tenant_id
        size = request.page_size or DEFAULT_PAGE
        users = [UUID(each) for each in request.user_ids] or None
        after = _cursor(request.page_token) if request.page_token else None
        async with tenant_transaction(self._pool, tenant_id) as connection:
            rows = await store.usage(connection, tenant_id, _days(request), users, after, size + 1)
        page = rows[:size]
        return pb.GetUsageResponse(
            rows=[_daily_usage(row) for row in page],
            next_page_token=_page_token(page[-1]) if len(rows) > size else "",
        )


def _days(request: pb.GetUsageRequest) -> tuple[date, date]:
    first, last = _day("start_date", request.start_date), _day("end_date", request.end_date)
    if last < first:
        raise InvalidArgument.field("end_date", "range", "must not be before start_date")
    if (last - first).days > MOST_DAYS:
        text = f"must be at most {MOST_DAYS} days after start_date"
        raise InvalidArgument.field("end_date", "range", text)
    return first, last


def _day(field: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument.field(field, "date", "must be a day, YYYY-MM-DD") from None


def _page_token(row: asyncpg.Record) -> str:
    return base64.urlsafe_b64encode(f"{row['date']}/{row['user_id']}".encode()).decode()


def _cursor(token: str) -> store.Cursor:
    try:
        day, user_id = base64.urlsafe_b64decode(token).decode().split("/")
        return store.Cursor(date.fromisoformat(day), UUID(user_id))
    except ValueError:
        text = "must be the next_page_token of a page before"
        raise InvalidArgument.field("page_token", "page_token", text) from None


def _daily_usage(row: asyncpg.Record) -> pb.DailyUsage:
    counters = {name: value for name, value in row.items() if name not in ("date", "user_id")}
    return pb.DailyUsage(date=row["date"].isoformat(), user_id=str(row["user_id"]), **counters)
