"""ExportUsage: days by user as CSV, its lines rendered by Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import Pool, tenant_snapshot
from chassis.interceptor import Context
from services.metrics.counters import COUNTERS
from services.metrics.sql import SQL
from services.metrics.usage.parse import span_of

# At most: a day, a UUID, and for each counter a comma and a number of 64 bits.
MAX_LINE_BYTES = len("9000-01-01,") + 36 + len(COUNTERS) * 20 + len("\r\n")
CHUNK_LINES = 256 * 1024 // MAX_LINE_BYTES - 1
HEADER = ",".join(["date", "user_id", *COUNTERS.values()]) + "\r\n"


class ExportRpc:
    """Exports the usage of the caller's tenant."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ExportUsage(
        self, request: pb.ExportUsageRequest, context: Context
    ) -> AsyncIterator[pb.ExportUsageResponse]:
        """Stream a file, as it is at one moment."""
        tenant_id, span = current_caller().tenant_id, span_of(request.start_date, request.end_date)
        text = HEADER
        async with tenant_snapshot(self._pool, tenant_id) as connection:
            cursor = await connection.cursor(SQL.export, tenant_id, *span)
            while rows := await cursor.fetch(CHUNK_LINES):
                text += "".join([row["line"] for row in rows])
                yield pb.ExportUsageResponse(chunk=text.encode())
                text = ""
        if text:
            yield pb.ExportUsageResponse(chunk=text.encode())
