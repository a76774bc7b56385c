"""What only the owner of the log can do: drop whole months that are older than it is kept.

A month is detached with CONCURRENTLY, which waits for the queries that use it and locks out none,
and then dropped. Killed in between, the next run ends what was begun. One run at a time. That
months go is remembered first, so that a verification takes their entries for no removed ones.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import asyncpg

from chassis.errors import OperatorError
from services.activity.sql import SQL


class MaintenanceError(OperatorError):
    """Maintenance cannot be done; the text says why."""


async def drop_expired_months(dsn: str, first_kept: date, *, dry_run: bool = False) -> list[str]:
    """Drop the months that end before `first_kept` and return them as YYYY-MM; needs the owner."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        if not await connection.fetchval(SQL.lock_maintenance):
            raise MaintenanceError("maintenance is running elsewhere")
        rows = await connection.fetch(SQL.expired_months, first_kept)
        if rows and not dry_run:
            before = datetime(first_kept.year, first_kept.month, 1, tzinfo=UTC)
            await connection.execute(SQL.mark_dropped, before)
        for row in [] if dry_run else rows:
            if row["is_attached"]:
                # A statement of its own: neither a transaction nor a function may hold it.
                await connection.execute(row["detach"], timeout=600)
            await connection.execute(row["remove"])
        return [row["month"] for row in rows]
    except asyncpg.InsufficientPrivilegeError as error:
        raise MaintenanceError(f"the role must be activity_owner: {error}") from None
    finally:
        await connection.close()
