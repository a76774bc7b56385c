"""TLS in front of the tests' PostgreSQL, whose wheel is built without it.

As a managed database's proxy does, it answers the protocol's SSLRequest, shakes hands, and passes
the rest on to the server's socket. What does not ask for TLS is turned away.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

from tests.certificates import Certificates
from tests.harness import Database

SSL_REQUEST = struct.pack(">ii", 8, 80877103)


@dataclass
class Terminator:
    """Where it listens; how it identifies itself and its clients may be changed while it runs."""

    database: Database
    certificates: Certificates
    demands_certificate: bool = False
    has_tls: bool = True
    port: int = 0
    clients: list[str] = field(default_factory=list)
    """The common name of each client's certificate; empty without one."""

    def dsn(self, user: str) -> str:
        """Return a DSN for `user` by TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{self.database.name}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(8) != SSL_REQUEST:
                return
            if not self.has_tls:
                writer.write(b"N")
                await reader.read(1)
                return
            writer.write(b"S")
            await writer.start_tls(self._context())
            self.clients.append(_name(writer.get_extra_info("peercert")))
            path = self.database.server.socket_folder / ".s.PGSQL.5432"
            to_server = await asyncio.open_unix_connection(path)
            await _pass_on((reader, writer), to_server)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.path("server"), self.certificates.key("server"))
        context.load_verify_locations(self.certificates.path("ca"))
        context.verify_mode = ssl.CERT_REQUIRED if self.demands_certificate else ssl.CERT_OPTIONAL
        return context


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _pass_on(client: Side, server: Side) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    await asyncio.gather(copy(client[0], server[1]), copy(server[0], client[1]))


def _name(certificate: dict[str, tuple[tuple[tuple[str, str]]]] | None) -> str:
    return certificate["subject"][0][0][1] if certificate else ""


@asynccontextmanager
async def terminating(database: Database, certificates: Certificates) -> AsyncIterator[Terminator]:
    """Serve TLS in front of a database until the block ends."""
    terminator = Terminator(database, certificates)
    server = await asyncio.start_server(terminator.serve, "127.0.0.1", 0)
    terminator.port = server.sockets[0].getsockname()[1]
    async with server:
        yield terminator
