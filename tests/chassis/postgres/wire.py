"""A TCP address before a PostgreSQL that listens on a Unix socket, and what a wire may do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Wire:
    """Carries bytes between clients and a server, until it is cut or swallows them."""

    def __init__(self, socket_folder: Path) -> None:
        self._server = socket_folder / ".s.PGSQL.5432"
        self._carries = asyncio.Event()
        self._carries.set()
        self._ends: list[asyncio.StreamWriter] = []
        self.address = ""

    def swallow(self) -> None:
        """Keep every byte from now on, while each kernel acknowledges to its side."""
        self._carries.clear()

    def carry(self) -> None:
        """Carry on with what has been kept."""
        self._carries.set()

    def cut(self) -> None:
        """End every connection."""
        for each in self._ends:
            each.transport.abort()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self._ends.append(writer)
        await self._carries.wait()
        try:
            there, back = await asyncio.open_unix_connection(self._server)
        except OSError:
            writer.transport.abort()
            return
        self._ends.append(back)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while content := await source.read(65_536):
                await self._carries.wait()
                target.write(content)
        finally:
            target.close()


@asynccontextmanager
async def wire_to(socket_folder: Path) -> AsyncIterator[Wire]:
    """Open a wire to a server until the block ends."""
    wire = Wire(socket_folder)
    listener = await asyncio.start_server(wire.forward, "127.0.0.1", 0)
    wire.address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        listener.close()
        wire.cut()
