"""Hints between replicas over core NATS: look now, instead of in a second.

A hint may be lost; who waits for one looks by itself as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from uuid import UUID

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.enrichment.messages import SOURCE_CHANGED

WORK = "hints.enrichment.work"
CANCEL = "hints.enrichment.cancel"
_log = structlog.get_logger()


class Hints:
    """Sends hints, and listens for those of others."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def listen(
        self,
        wake: Callable[[], None],
        cancel_run: Callable[[UUID], None],
        source_changed: Callable[[], None],
    ) -> None:
        """Subscribe: there is work, a run is to be cancelled, a source's state has changed."""

        async def on_work(_: Msg) -> None:
            wake()

        async def on_cancel(message: Msg) -> None:
            with contextlib.suppress(ValueError):
                cancel_run(UUID(message.data.decode()))

        async def on_source(_: Msg) -> None:
            source_changed()

        await self._client.subscribe(WORK, cb=on_work)
        await self._client.subscribe(CANCEL, cb=on_cancel)
        await self._client.subscribe(SOURCE_CHANGED, cb=on_source)

    async def work(self) -> None:
        """Tell that a run waits for a worker."""
        await self._send(WORK, b"")

    async def cancel(self, run_id: UUID) -> None:
        """Tell that a run is to be cancelled."""
        await self._send(CANCEL, str(run_id).encode())

    async def _send(self, subject: str, body: bytes) -> None:
        try:
            await self._client.publish(subject, body)
        except nats.errors.Error as error:
            _log.warning("hint not sent", subject=subject, error=repr(error))
