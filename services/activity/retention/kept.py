"""The time since which entries are kept, and that since which the log is complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from chassis.database import Connection
from services.activity.retention import store


def kept_since(now: datetime, days: int) -> datetime:
    """Return the beginning of the first UTC day that a retention of so many days keeps."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


async def complete_since(
    connection: Connection, tenant_id: UUID, retention: timedelta, now: datetime
) -> datetime:
    """Return the time after which a tenant's entries never expired: none of them may be missing."""
    days = await store.retention_days(connection, tenant_id)
    return max(
        kept_since(now, min(days or retention.days, retention.days)),
        await store.expired_before(connection, tenant_id),
        await store.dropped_before(connection),
    )
