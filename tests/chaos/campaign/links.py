"""A TCP proxy between one replica and one server, to break their connection in every way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CHUNK = 65_536


class Mode(Enum):
    """What a link does with bytes, and with new connections."""

    PASS = "passes"
    SILENT = "is silent"
    """Nothing arrives on either side, and neither side is told: half-open, a black hole."""
    REFUSE = "refuses"
    SLOW = "is slow"


class Link:
    """Listens on a port of its own and passes on what comes to the server that `dial` reaches."""

    def __init__(self, dial: Callable[[], Awaitable[Streams]], seconds_late: float = 0.3) -> None:
        self._dial = dial
        self._late = seconds_late
        self._mode = Mode.PASS
        self._heard = asyncio.Event()
        self._heard.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        """Take connections, on the same port each time."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def become(self, mode: Mode) -> None:
        """Treat bytes and connections otherwise from now on; connections stay where they can."""
        self._mode = mode
        if mode is Mode.SILENT:
            self._heard.clear()
        else:
            self._heard.set()
        if mode is Mode.REFUSE:
            await self.close()
        elif self._server is None:
            await self.listen()

    def reset(self) -> None:
        """Cut every connection by RST; new ones are taken."""
        for writer in list(self._open):
            writer.transport.abort()

    async def close(self) -> None:
        """Take no more connections, and cut those that are open."""
        if self._server:
            self._server.close()
            self._server = None
        self.reset()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's would complain when the loop ends before the connection.
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._heard.wait()
            there_reader, there_writer = await self._dial()
            self._open.add(there_writer)
            try:
                ways = [
                    asyncio.create_task(self._pump(reader, there_writer)),
                    asyncio.create_task(self._pump(there_reader, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
            finally:
                self._end(there_writer)
        except OSError:
            pass  # the server is away: whoever dialled sees his connection end
        finally:
            self._end(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._heard.wait()
                if self._mode is Mode.SLOW:
                    await asyncio.sleep(self._late)
                writer.write(data)
                await writer.drain()

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()
