"""A vendor that answers as a test has it, and the pace at which the sandbox's EDGAR is asked."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route


class Pace:
    """Lets at most `limit` calls start in any `seconds`; the others wait their turn.

    The window is a tenth longer than a second, since requests may arrive closer than they left.
    """

    def __init__(
        self,
        limit: int = 10,
        seconds: float = 1.1,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._starts: deque[float] = deque(maxlen=limit)
        self._seconds = seconds
        self._now = now
        self._sleep = sleep

    async def wait(self) -> None:
        """Return when the next call may start."""
        at = self._now()
        if len(self._starts) == self._starts.maxlen:
            at = max(at, self._starts[0] + self._seconds)
        self._starts.append(at)
        while (remaining := at - self._now()) > 0:
            await self._sleep(remaining)


# One for all tests of a process: the sandbox counts their requests together, as the SEC would.
PACE = Pace()


@asynccontextmanager
async def serve(routes: list[Route]) -> AsyncIterator[str]:
    """Serve on a free port; the socket listens already, so nobody has to wait for the start."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=routes), log_level="error", lifespan="off", timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()
