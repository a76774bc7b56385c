"""The sealed log as lines of JSON in the order of its tree, for offline verification."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

from chassis.database import Connection
from services.activity.proof import tree
from services.activity.sql import SQL

MAX_LINES = 2_048  # read and held in memory at once, up to some 10 KB each


async def sealed_lines(
    connection: Connection, tenant_id: UUID, kept_since: datetime
) -> AsyncIterator[list[str]]:
    """Yield the lines, some at a time; call it in a snapshot.

    An entry from before `kept_since` that is missing has expired.
    """
    stored = await tree.find_tree(connection, tenant_id)
    size = stored.frontier.size if stored else 0
    for begin in range(0, size, MAX_LINES):
        end = min(begin + MAX_LINES, size)
        rows = await connection.fetch(SQL.sealed_lines, tenant_id, begin, end, kept_since)
        yield [row["line"] for row in rows]
