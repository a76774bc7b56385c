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

from services.enrichment.availability.announcements import SOURCE_CHANGED
from services.enrichment.sources.catalogue import SourceName

WORK = "hints.enrichment.work"
CANCEL = "hints.enrichment.cancel"
AGAIN = "hints.enrichment.again"
FORGET = "hints.enrichment.forget"
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

    async def listen_to_callers(
        self,
        ask_again: Callable[[UUID, SourceName], None],
        forget_user: Callable[[UUID], None],
    ) -> None:
        """Subscribe: a source is to be asked at once, a user has been erased."""

        async def on_again(message: Msg) -> None:
            with contextlib.suppress(ValueError):
                run_id, source = message.data.decode().split()
                ask_again(UUID(run_id), SourceName(source))

        async def on_forget(message: Msg) -> None:
            with contextlib.suppress(ValueError):
                forget_user(UUID(message.data.decode()))

        await self._client.subscribe(AGAIN, cb=on_again)
        await self._client.subscribe(FORGET, cb=on_forget)

    async def work(self) -> None:
        """Tell that a run waits for a worker."""
        await self._send(WORK, b"")

    async def cancel(self, run_id: UUID) -> None:
        """Tell that a run is to be cancelled."""
        await self._send(CANCEL, str(run_id).encode())

    async def again(self, run_id: UUID, source: SourceName) -> None:
        """Tell that a source that waits in a run is to be asked at once."""
        await self._send(AGAIN, f"{run_id} {source}".encode())

    async def forget(self, user_id: UUID) -> None:
        """Tell that a user has been erased."""
        await self._send(FORGET, str(user_id).encode())

    async def _send(self, subject: str, body: bytes) -> None:
        try:
            await self._client.publish(subject, body)
        except nats.errors.Error as error:
            _log.warning("hint not sent", subject=subject, error=repr(error))
