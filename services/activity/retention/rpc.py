"""The RPCs of retention: the days of the whole log, and of a tenant that keeps fewer."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock, to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from services.activity.months.partitions import MONTHS_AHEAD, month_after
from services.activity.retention import store
from services.activity.retention.kept import kept_since


class RetentionRpc:
    """Reads and sets the retention of the caller's tenant, and lists the log's months."""

    def __init__(self, pool: Pool, clock: Clock, retention: timedelta) -> None:
        self._pool = pool
        self._clock = clock
        self._retention = retention

    async def GetRetention(
        self, request: pb.GetRetentionRequest, context: Context
    ) -> pb.GetRetentionResponse:
        """Return the tenant's retention."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            days = await store.retention_days(connection, tenant_id)
        whole = self._retention.days
        return pb.GetRetentionResponse(
            retention_days=min(days or whole, whole), is_default=days is None
        )

    async def UpdateRetention(
        self, request: pb.UpdateRetentionRequest, context: Context
    ) -> pb.UpdateRetentionResponse:
        """Set the tenant's retention, or remove it, so that the whole log's holds."""
        whole = self._retention.days
        if request.retention_days > whole:
            text = f"must be at most {whole}, as long as the whole log is kept"
            raise InvalidArgument.field("retention_days", "activity.within_retention", text)
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await store.set_retention(connection, tenant_id, request.retention_days)
        return pb.UpdateRetentionResponse(retention_days=request.retention_days or whole)

    async def ListPartitions(
        self, request: pb.ListPartitionsRequest, context: Context
    ) -> pb.ListPartitionsResponse:
        """Describe the months of the log."""
        async with self._pool.acquire() as connection:
            rows = await store.list_partitions(connection)
        whole = self._retention.days
        first_kept = kept_since(self._clock(), whole).date()
        following = _first_missing({row["month"] for row in rows}, self._clock().date())
        made_at = datetime(following.year, following.month, 1, tzinfo=UTC) - MONTHS_AHEAD
        return pb.ListPartitionsResponse(
            partitions=[
                pb.Partition(
                    month=f"{row['month']:%Y-%m}",
                    estimated_row_count=row["estimated_rows"],
                    table_bytes=row["table_bytes"],
                    index_bytes=row["index_bytes"],
                    droppable=month_after(row["month"]) <= first_kept,
                )
                for row in rows
            ],
            next_creation=f"{following:%Y-%m}",
            next_creation_time=to_timestamp(made_at),
            retention_days=whole,
        )


def _first_missing(months: Collection[date], today: date) -> date:
    """Return the first missing month from this one on; some later ones may exist all the same."""
    month = today.replace(day=1)
    while month in months:
        month = month_after(month)
    return month
