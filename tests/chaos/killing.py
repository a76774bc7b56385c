"""Killing and restarting processes, and callers that retry: shared by the tests that kill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil
import pytest

from devstack import servers
from devstack.stack import Stack, start_service, wait_serving

MAY_RETRY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
RECONNECT_SOON = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


async def until_answered(send: Callable[[], Any]) -> Any:
    """Make a call again and again until it is answered; only what may be retried is."""
    for attempt in range(1_000):
        call = send()
        code = await call.code()
        if code is grpc.StatusCode.OK:
            return await call
        assert code in MAY_RETRY, f"attempt {attempt}: {code} {await call.details()}"
        await asyncio.sleep(0.1)
    pytest.fail("never answered")


async def fetch(stack: Stack, sql: str) -> list[Any]:
    """Read past row level security, however often the database has to be asked."""
    for _ in range(100):
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(stack.postgres.dsn())
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()
        await asyncio.sleep(0.2)
    pytest.fail("the database did not come back")


class Victims:
    """The processes that a test kills: replicas of services, the broker and the database.

    A service's first replica, of its own name, is the stack's; others are started here.
    """

    def __init__(self, stack: Stack, services: Mapping[str, str]) -> None:
        """Start the replicas that the stack has not; `services` has the service of each."""
        self.kills: Counter[str] = Counter()
        self.addresses: dict[str, str] = {}
        self._stack = stack
        self._services = services
        self._servers: list[subprocess.Popen[bytes]] = []
        self._starts = 0
        for replica, service in services.items():
            own = stack.addresses.get(replica) or f"127.0.0.1:{servers.free_port()}"
            self.addresses[replica] = own
            if replica != service:
                self._start(replica)

    async def wait_serving(self) -> None:
        """Wait until every replica serves."""
        for replica, service in self._services.items():
            while self._stack.processes[replica].poll() is not None:
                await asyncio.sleep(0.05)  # who supervises has not seen its death yet
            process, folder = self._stack.processes[replica], self._stack.folder
            address = self.addresses[replica]
            await asyncio.to_thread(wait_serving, service, address, process, folder)

    async def supervise(self) -> None:
        """Start again whatever replica is gone, as the platform does."""
        while True:
            await asyncio.sleep(0.3)
            for replica in self._services:
                if self._stack.processes[replica].poll() is not None:
                    self._start(replica)

    async def kill(self, victim: str) -> None:
        """Kill a replica, which is started again by who supervises it, or a server."""
        self.kills[victim] += 1
        if victim in self._services:
            servers.stop(self._stack.processes[victim], signal.SIGKILL)
        else:
            home = {"nats-server": "nats", "postgres": "postgres"}[victim]
            await asyncio.to_thread(self._restart, victim, self._stack.folder / home)

    async def stop(self) -> None:
        """Stop the servers that this started; the stack stops its own."""
        for replica in self._services:
            servers.stop(self._stack.processes[replica], signal.SIGTERM)
        for server in reversed(self._servers):
            servers.stop(server, signal.SIGINT)

    def _start(self, replica: str) -> None:
        service = self._services[replica]
        environment = self._stack.environments[service]
        listen = {"PROSPECT_LISTEN": self.addresses[replica]}
        self._starts += 1
        logs = self._stack.folder / f"{replica}-{self._starts}"
        logs.mkdir()
        process = start_service(logs, service, {**environment, **listen})
        self._stack.processes[replica] = process  # type: ignore[index]

    def _restart(self, name: str, home: Path) -> None:
        """Kill a server and start it on the same port or socket and the same data."""
        found = {
            each.pid: each
            for each in psutil.process_iter(["name", "cmdline"])
            if each.info["name"] == name and str(home) in " ".join(each.info["cmdline"] or ())
        }
        # A child of the postmaster looks like it until it has named itself.
        (server,) = [each for each in found.values() if each.ppid() not in found]
        command = server.cmdline()
        children = server.children()
        server.kill()
        psutil.wait_procs([server, *children], timeout=20)
        with suppress(FileNotFoundError):
            os.unlink(home / "data" / "postmaster.pid")
        prefix = self._stack.postgres.process.args if name == "postgres" else []
        assert isinstance(prefix, list)
        guarded = prefix[: prefix.index(command[0])] if command[0] in prefix else []
        with open(home / "again.log", "ab") as log:
            self._servers.append(
                subprocess.Popen([*guarded, *command], stdout=log, stderr=log, process_group=0)
            )
