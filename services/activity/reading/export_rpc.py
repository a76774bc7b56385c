"""ExportActivities: the entries that a filter matches as a file; PostgreSQL renders its lines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import grpc
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import Caller, current_caller
from chassis.clock import Clock, new_id
from chassis.database import Connection, Pool, tenant_snapshot, tenant_transaction
from chassis.errors import InvalidArgument, Limit, Refusal, ResourceExhausted
from chassis.interceptor import Context
from chassis.outbox import Relay
from chassis.transient import TRANSIENT
from services.activity.entries.batch import one_entry
from services.activity.entries.filters import Filter, parse_filter
from services.activity.months.partitions import Partitions
from services.activity.proof.sealed_lines import sealed_lines
from services.activity.reading import store
from services.activity.recording import store as recording_store
from services.activity.retention.kept import complete_since

CHUNK_BYTES = 128 * 1024
PATIENCE = timedelta(seconds=60)  # with a client that reads nothing
RETRY_SECONDS = 5.0  # until another export may have ended
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


class StoodStill(Refusal):
    """The client read nothing for so long that PostgreSQL ended the export's transaction."""

    code = grpc.StatusCode.ABORTED


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
        # Half of the connections stay for other calls, and for the exports' own entries.
        max_exports = pool.get_max_size() // 2
        self._exports = asyncio.Semaphore(max_exports)
        self._limit = Limit("concurrent_exports", "replica", max_exports)

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
        idle = _Idle()
        async with (
            self._place(),
            idle.explained(),
            tenant_snapshot(self._pool, caller.tenant_id) as connection,
        ):
            await store.plan_export(connection, PATIENCE)
            await self._log(caller, name, wanted)
            lines = idle.watching(self._lines(connection, caller.tenant_id, wanted, name))
            async with aclosing(_chunks(HEADERS[name], lines)) as chunks:
                async for chunk, row_count in chunks:
                    byte_count += len(chunk)
                    yield pb.ExportActivitiesResponse(chunk=chunk, row_count=row_count)
        context.set_trailing_metadata(
            (("exported-rows", str(row_count)), ("exported-bytes", str(byte_count)))
        )

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Count as one of the exports under way, or refuse where all are taken."""
        if self._exports.locked():
            text = "as many exports run as this replica serves at once; try again in a moment"
            raise ResourceExhausted.beyond(
                self._limit, text, reason="TOO_MANY_EXPORTS", retry_seconds=RETRY_SECONDS
            )
        async with self._exports:
            yield

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


@dataclass(slots=True)
class _Idle:
    """How long the transaction was last idle, since the client read nothing."""

    seconds: float = 0

    async def watching(self, batches: AsyncIterator[list[str]]) -> AsyncIterator[list[str]]:
        """Yield the same, and measure how long each takes to be sent."""
        async for lines in batches:
            begun = time.monotonic()
            yield lines
            self.seconds = time.monotonic() - begun

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Refuse with the reason where PostgreSQL ended the transaction of an idle client."""
        try:
            yield
        except TRANSIENT:
            if self.seconds < PATIENCE.total_seconds() * 0.9:
                raise
            seconds = f"{PATIENCE.total_seconds():g} s"
            text = f"nothing was taken for {seconds} by the client: begin the export again"
            raise StoodStill(text, reason="CLIENT_STOOD_STILL") from None


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
