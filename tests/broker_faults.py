"""A broker of three nodes, and a network between it and a client that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

from nats.js.errors import APIError

from chassis.broker.client import connect
from devstack import servers


@contextmanager
def cluster(folder: Path) -> Iterator[list[servers.Nats]]:
    """Run three nodes that are one broker."""
    routes = [servers.free_port() for _ in range(3)]
    all_routes = ", ".join(f"nats-route://127.0.0.1:{port}" for port in routes)
    with ExitStack() as nodes:
        yield [
            nodes.enter_context(
                servers.nats_server(
                    folder / str(number),
                    users=f'server_name: "n{number}"\n'
                    f'cluster {{ name: C, listen: "127.0.0.1:{port}", routes: [{all_routes}] }}\n',
                )
            )
            for number, port in enumerate(routes)
        ]


def addresses(nodes: list[servers.Nats]) -> str:
    """Return what a service is told of a broker."""
    return ",".join(node.url for node in nodes)


async def meets(nodes: list[servers.Nats]) -> None:
    """Wait until the nodes have found each other and keep streams together."""
    client = await connect(addresses(nodes), "waits")
    async with asyncio.timeout(60):
        while True:
            with suppress(APIError, TimeoutError):
                await client.jetstream().add_stream(name="MET", subjects=["met"], num_replicas=3)
                break
            await asyncio.sleep(0.1)
    await client.jetstream().delete_stream("MET")
    await client.close()


class Link:
    """A TCP proxy to one server, of which nothing may come through."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._passing: set[asyncio.Task[None]] = set()
        self.port = self.connections = 0
        self.is_open = asyncio.Event()
        self.is_open.set()

    @property
    def url(self) -> str:
        """Where a client reaches the broker through this."""
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Let nothing through, in either direction; no side is told."""
        self.is_open.clear()

    def mend(self) -> None:
        """Let through what comes from now on, and what waited."""
        self.is_open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one connection says, both ways."""
        self.connections += 1
        there = await asyncio.open_connection("127.0.0.1", self._server_port)
        for way in ((reader, there[1]), (there[0], writer)):
            self._passing.add(asyncio.create_task(self._pass_on(*way)))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            while content := await reader.read(65_536):
                await self.is_open.wait()
                writer.write(content)
                await writer.drain()

    async def end(self) -> None:
        """End all connections."""
        for each in self._passing:
            each.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)


@asynccontextmanager
async def link(nats: servers.Nats) -> AsyncIterator[Link]:
    """Run a proxy to a server."""
    made = Link(int(nats.url.rpartition(":")[2]))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()
