"""ExportActivities: the entries that a filter matches as a file; PostgreSQL renders its lines."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import Caller, current_caller
from chassis.clock import Clock, new_id
from chassis.database import Connection, Pool, tenant_snapshot, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from chassis.outbox import Relay
from services.activity.entries.batch import one_entry
from services.activity.entries.filters import Filter, parse_filter
from services.activity.months.partitions import Partitions
from services.activity.proof.sealed_lines import sealed_lines
from services.activity.reading import store
from services.activity.recording import store as recording_store
from services.activity.retention.kept import complete_since

CHUNK_BYTES = 128 * 1024
FORMATS = {
    pb.EXPORT_FORMAT_UNSPECIFIED: "ndjson",
    pb.EXPORT_FORMAT_NDJSON: "ndjson",
    pb.EXPORT_FORMAT_CSV: "csv",
    pb.EXPORT_FORMAT_SEALED_NDJSON: "sealed_ndjson",
}
HEADERS = {
    "ndjson": b"",
    "sealed_ndjson": b"",
    "csv": b"activity_id,user_id,action_type,target_id,metadata,created_at,recorded_at,"
    b"ip_address,user_agent\r\n",
}


class ExportRpc:
    """Exports the log of the caller's tenant."""

    def __init__(
        self, pool: Pool, relay: Relay, partitions: Partitions, clock: Clock, retention: timedelta
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._partitions = partitions
        self._clock = clock
        self._retention = retention

    async def ExportActivities(
        self, request: pb.ExportActivitiesRequest, context: Context
    ) -> AsyncIterator[pb.ExportActivitiesResponse]:
        """Stream a file."""
        name = FORMATS[request.format]
        caller, wanted = current_caller(), parse_filter(request.filter)
        if name == "sealed_ndjson" and wanted != Filter():
            text = "must be absent: the sealed log is exported whole"
            raise InvalidArgument.field("filter", "export.sealed_whole", text)
        await store.check_metadata(self._pool, wanted)
        row_count = byte_count = 0
        async with (
            tenant_snapshot(self._pool, caller.tenant_id) as connection,
        ):
            await store.plan_export(connection)
            await self._log(caller, name, wanted)
            lines = self._lines(connection, caller.tenant_id, wanted, name)
            async with aclosing(_chunks(HEADERS[name], lines)) as chunks:
                async for chunk, row_count in chunks:
                    byte_count += len(chunk)
                    yield pb.ExportActivitiesResponse(chunk=chunk, row_count=row_count)
        context.set_trailing_metadata(
            (("exported-rows", str(row_count)), ("exported-bytes", str(byte_count)))
        )

    async def _log(self, caller: Caller, name: str, wanted: Filter) -> None:
        """Record that the caller exports data, before any is sent."""
        now = self._clock()
        metadata = {"format": name, "export_id": str(new_id(now)), "filter": wanted.summary()}
        entry = one_entry(
            new_id(now), caller.user_id, "csv_exported", "", json.dumps(metadata), now
        )

        async def transaction() -> None:
            async with tenant_transaction(self._pool, caller.tenant_id) as connection:
                await recording_store.append_or_skip(connection, caller.tenant_id, entry)

        await self._partitions.covering(entry.created_at, transaction)
        self._relay.wake()

    async def _lines(
        self, connection: Connection, tenant_id: UUID, wanted: Filter, name: str
    ) -> AsyncIterator[list[str]]:
        if name == "sealed_ndjson":
            kept_since = await complete_since(connection, tenant_id, self._retention, self._clock())
            async for lines in sealed_lines(connection, tenant_id, kept_since):
                yield [f"{line}\n" for line in lines]
        else:
            async for lines in store.export(connection, tenant_id, wanted, name):
                yield lines


async def _chunks(
    header: bytes, batches: AsyncIterator[list[str]]
) -> AsyncGenerator[tuple[bytes, int], None]:
    """Join lines into chunks; yield each with the number of lines up to its end."""
    encoded, size, count = [header], len(header), 0
    async for lines in batches:
        for line in lines:
            text = line.encode()
            encoded.append(text)
            size += len(text)
            count += 1
            if size >= CHUNK_BYTES:
                yield b"".join(encoded), count
                encoded, size = [], 0
    if size:
        yield b"".join(encoded), count
