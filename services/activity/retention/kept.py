"""Since when entries are kept, and since when the log is complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from chassis.database import Connection
from services.activity.retention import store


def kept_since(now: datetime, days: int) -> datetime:
    """Return the beginning of the first UTC day that is kept."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


async def complete_since(
    connection: Connection, tenant_id: UUID, retention: timedelta, now: datetime
) -> datetime:
    """Return since when a tenant's log must be complete: retention never deleted newer entries."""
    days = await store.retention_days(connection, tenant_id)
    return max(
        kept_since(now, min(days or retention.days, retention.days)),
        await store.expired_before(connection, tenant_id),
        await store.dropped_before(connection),
    )
