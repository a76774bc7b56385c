"""ExportUsage: days by user as CSV, its lines rendered by Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import Pool, tenant_snapshot
from chassis.errors import Limit, ResourceExhausted
from chassis.interceptor import Context
from services.metrics.counters import COUNTERS
from services.metrics.sql import SQL
from services.metrics.usage.parse import span_of

# At most: a day, a UUID, and for each counter a comma and a number of 64 bits.
MAX_LINE_BYTES = len("9000-01-01,") + 36 + len(COUNTERS) * 20 + len("\r\n")
CHUNK_LINES = 256 * 1024 // MAX_LINE_BYTES - 1
RETRY_SECONDS = 5.0  # until another export may have ended
HEADER = ",".join(["date", "user_id", *COUNTERS.values()]) + "\r\n"


class ExportRpc:
    """Exports the usage of the caller's tenant.

    An export holds a connection for as long as its client reads, so `max_exports` run at once.
    """

    def __init__(self, pool: Pool, max_exports: int) -> None:
        self._pool = pool
        self._places = asyncio.Semaphore(max_exports)
        self._limit = Limit("concurrent_exports", "replica", max_exports)

    async def ExportUsage(
        self, request: pb.ExportUsageRequest, context: Context
    ) -> AsyncIterator[pb.ExportUsageResponse]:
        """Stream a file, as it is at one moment."""
        tenant_id, span = current_caller().tenant_id, span_of(request.start_date, request.end_date)
        text = HEADER
        if self._places.locked():
            full = "as many exports run as this replica serves at once; try again in a moment"
            raise ResourceExhausted.beyond(
                self._limit, full, reason="TOO_MANY_EXPORTS", retry_seconds=RETRY_SECONDS
            )
        async with self._places, tenant_snapshot(self._pool, tenant_id) as connection:
            cursor = await connection.cursor(SQL.export, tenant_id, *span)
            while rows := await cursor.fetch(CHUNK_LINES):
                text += "".join([row["line"] for row in rows])
                yield pb.ExportUsageResponse(chunk=text.encode())
                text = ""
        if text:
            yield pb.ExportUsageResponse(chunk=text.encode())
