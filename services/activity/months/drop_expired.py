"""Dropping whole months that are older than the log is kept; only the log's owner can do it.

A month is detached with CONCURRENTLY, which waits for the queries that use it and blocks none, and
then dropped. A run that was killed in between is completed by the next one; one runs at a time.
Before anything is dropped the database remembers until when, so that a verification does not take
the entries of dropped months for removed ones.
"""

from __future__ import annotations

import ssl
from datetime import UTC, date, datetime

import asyncpg

from chassis.database import connect_as_owner
from chassis.errors import OperatorError
from chassis.postgres.refusals import without_values
from services.activity.sql import SQL


class MaintenanceError(OperatorError):
    """Maintenance cannot be done; the text says why."""


async def drop_expired_months(
    dsn: str, first_kept: date, *, dry_run: bool = False, tls: ssl.SSLContext | None = None
) -> list[str]:
    """Drop the months that end before `first_kept` and return them as YYYY-MM; needs the owner."""
    connection = await connect_as_owner(dsn, tls)
    try:
        if not await connection.fetchval(SQL.lock_maintenance):
            raise MaintenanceError("months are being dropped elsewhere: wait until that has ended")
        rows = await connection.fetch(SQL.expired_months, first_kept)
        if rows and not dry_run:
            before = datetime(first_kept.year, first_kept.month, 1, tzinfo=UTC)
            await connection.execute(SQL.mark_dropped, before)
        for row in [] if dry_run else rows:
            if row["is_attached"]:
                # Detaching concurrently is allowed neither in a transaction nor in a function.
                await connection.execute(row["detach"], timeout=600)
            await connection.execute(row["remove"])
        return [row["month"] for row in rows]
    except asyncpg.InsufficientPrivilegeError as error:
        text = f"the role must be activity_owner: {without_values(error)}"
        raise MaintenanceError(text) from None
    finally:
        await connection.close()
