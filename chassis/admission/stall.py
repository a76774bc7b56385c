"""A client that takes nothing of a stream: what the stream holds is given up after a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from chassis.admission.admission import Visit
from chassis.errors import Refusal


class StoodStill(Refusal):
    """The client took nothing for so long that its stream has been given up."""

    code = grpc.StatusCode.ABORTED


class Stall:
    """Watches that each response of a stream is taken in time.

    gRPC offers no way to end a call whose client takes nothing. So the handler is closed, with
    its connection and its snapshot, and the client is told when it takes something again.
    """

    def __init__(self, responses: AsyncGenerator[Any, None], visit: Visit, seconds: float) -> None:
        self._responses = responses
        self._visit = visit
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to wait for the client: a response is sent."""
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._give_up)

    def end(self) -> None:
        """End the wait: the client has taken the response. Raises StoodStill if it came late."""
        if self._timer:
            self._timer.cancel()
        if self._closing:
            text = f"nothing was taken for {self._seconds:g} s by the client: call again"
            raise StoodStill(text, reason="CLIENT_STOOD_STILL")

    async def close(self) -> None:
        """Close the handler, unless that has begun."""
        if self._timer:
            self._timer.cancel()
        await (asyncio.shield(self._closing) if self._closing else self._responses.aclose())

    def _give_up(self) -> None:
        self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        try:
            await self._responses.aclose()
        finally:
            self._visit.end_expensive()
