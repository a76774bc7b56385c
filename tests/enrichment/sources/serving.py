"""A vendor that answers as a test has it, and the pace at which the sandbox's EDGAR is asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from services.enrichment.sources.edgar.transport import Pace

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
