"""Wakes calls that watch a run or a batch when an event tells of it; they read what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from prospect.enrichment.v1 import events_pb2

from chassis.errors import Unavailable
from chassis.loops import sleep

LOOK_AGAIN_SECONDS = 2.0

SUBJECT = "prospect.enrich.*.*"
_Told = (
    events_pb2.EnrichmentProgressed | events_pb2.EnrichmentCompleted | events_pb2.EnrichmentFailed
)
_TYPES: dict[str, type[_Told]] = {
    "progressed": events_pb2.EnrichmentProgressed,
    "completed": events_pb2.EnrichmentCompleted,
    "failed": events_pb2.EnrichmentFailed,
}


class Watchers:
    """The calls of this process that watch, woken by one subscription."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def listen(self, client: Client) -> None:
        """Subscribe; a lost message only makes a watcher wait for LOOK_AGAIN_SECONDS."""
        await client.subscribe(SUBJECT, cb=self._spread)

    @asynccontextmanager
    async def watching(self, key: UUID) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set whenever the run, or any run of the tenant, changes."""
        woken = asyncio.Event()
        watchers = self._waiting.setdefault(str(key), set())
        watchers.add(woken)
        try:
            yield woken
        finally:
            watchers.discard(woken)
            if not watchers:
                self._waiting.pop(str(key), None)

    async def wait(self, woken: asyncio.Event) -> None:
        """Wait for a change, at most LOOK_AGAIN_SECONDS; raise Unavailable on a stop."""
        await sleep(LOOK_AGAIN_SECONDS, self._stopping, woken)
        woken.clear()
        if self._stopping.is_set():
            raise Unavailable("this replica is stopping; watch again", reason="STOPPING")

    async def _spread(self, message: Msg) -> None:
        _, _, name, tenant_id = message.subject.split(".")
        self._tell(tenant_id)
        kind = _TYPES.get(name)
        if kind is None:
            return
        try:
            run_id = kind.FromString(message.data).run_id
        except DecodeError:
            return
        self._tell(run_id)

    def _tell(self, key: str) -> None:
        for woken in self._waiting.get(key, ()):
            woken.set()
