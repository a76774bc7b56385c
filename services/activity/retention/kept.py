"""Since when entries are kept, and since when the log is complete."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from chassis.database import Connection
from services.activity.retention import store
from services.activity.tools import Tools


def kept_since(now: datetime, days: int) -> datetime:
    """Return the beginning of the first UTC day that is kept."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


async def complete_since(connection: Connection, tenant_id: UUID, tools: Tools) -> datetime:
    """Return since when no entry of a tenant may be gone: it keeps them, and always did."""
    days = await store.retention_days(connection, tenant_id)
    return max(
        kept_since(tools.clock(), min(days or tools.retention.days, tools.retention.days)),
        await store.expired_before(connection, tenant_id),
        await store.dropped_before(connection),
    )
