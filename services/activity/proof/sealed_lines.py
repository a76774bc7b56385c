"""The sealed log as lines of JSON, in the order of its tree: what an offline verification reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

from chassis.database import Connection
from services.activity.proof import tree
from services.activity.sql import SQL

PIECE = 2_048  # lines read and held at once, up to some 10 KB each


async def sealed_lines(
    connection: Connection, tenant_id: UUID, kept_since: datetime
) -> AsyncIterator[list[str]]:
    """Yield the lines, a piece at a time, none where nothing is sealed; call it in a snapshot.

    An entry from before `kept_since` that is not there has expired.
    """
    stored = await tree.find_tree(connection, tenant_id)
    size = stored.frontier.size if stored else 0
    for begin in range(0, size, PIECE):
        end = min(begin + PIECE, size)
        rows = await connection.fetch(SQL.sealed_lines, tenant_id, begin, end, kept_since)
        yield [row["line"] for row in rows]
