"""What is broken: two replicas of each service, three brokers, PostgreSQL, and links between."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from devstack import servers
from devstack.stack import (
    SERVICES,
    Stack,
    StackError,
    environment,
    migrate_all,
    nats_users,
    signing_key,
    start_sandbox,
    start_service,
    wait_serving,
)
from tests.chaos.campaign.links import Link, Streams
from tests.pgbouncer import pgbouncer
from tests.standby import standby_of

SETTINGS: Mapping[str, str] = {
    "PROSPECT_LEASE_SECONDS": "5",
    "PROSPECT_NATS_STREAM_REPLICAS": "3",
    "PROSPECT_RUN_DEADLINE_SECONDS": "600",
    # So that the sources' rates do not make the campaign long, and calls are out all the time.
    "PROSPECT_CONTACTOUT_CALLS_PER_SECOND": "0",
    "PROSPECT_EXA_CALLS_PER_SECOND": "0",
    "PROSPECT_CLAUDE_CALLS_PER_SECOND": "0",
    "PROSPECT_TENANT_RUNS_IN_HAND": "16",
}
NO_MORE: Mapping[str, str] = {}
PROCESS_GONE_SECONDS = 20
STARTED_SECONDS = 90
SERVING_SECONDS = 150


@dataclass
class Replica:
    """One process of a service, its own links to the servers, and how it is started."""

    name: str
    service: str
    address: str
    metrics: str
    postgres: Link
    brokers: list[Link]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    clock_shift: float = 0.0

    def start(self, folder: Path) -> None:
        """Start it, with a folder of its own for its log."""
        self.starts += 1
        logs = folder / f"{self.name}-{self.starts}"
        logs.mkdir()
        self.process = start_service(logs, self.service, self.environment)

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """Return its process, which may have died."""
        assert self.process is not None
        return self.process


@dataclass
class Broker:
    """One of the three nodes; its context, once closed, stops it."""

    name: str
    folder: Path
    port: int
    settings: str
    stack: ExitStack = field(default_factory=ExitStack)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it on its port and what it has stored."""
        server = servers.nats_server(self.folder, port=self.port, users=self.settings)
        self.process = self.stack.enter_context(server).process

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Stop it, suddenly by default."""
        if self.process:
            servers.stop(self.process, number)
        self.stack.close()

    def wipe(self) -> None:
        """Lose all that it has stored."""
        shutil.rmtree(self.folder / "jetstream", ignore_errors=True)


class Cluster:
    """Every process of a campaign, each of which can be killed, frozen, cut off and restarted."""

    def __init__(
        self, folder: Path, *, pooled: bool = False, settings: Mapping[str, str] = NO_MORE
    ) -> None:
        """`pooled` puts PgBouncer before PostgreSQL; `settings` are every replica's."""
        self.folder = folder
        self._settings = {**SETTINGS, **settings}
        self._pooled = pooled
        self.replicas: dict[str, Replica] = {}
        self.brokers: list[Broker] = []
        self._postgres_stack, self._standby_stack = ExitStack(), ExitStack()
        self._postgres: servers.Postgres | None = None
        self._postgres_folder = folder / "postgres"
        self._pooler = ""
        self._sandbox: subprocess.Popen[bytes] | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def postgres(self) -> servers.Postgres:
        """Return the database server, which lives in another folder after each start."""
        assert self._postgres is not None
        return self._postgres

    @property
    def stack(self) -> Stack:
        """Return what is running, as those see it who look from outside."""
        first = {name: self.replicas[f"{name}-1"].address for name in SERVICES}
        return Stack(
            self.folder,
            first,
            ",".join(f"nats://127.0.0.1:{broker.port}" for broker in self.brokers),
            self.postgres,
            self.sandbox_url,
            signing_key(self.folder / "signing-key.pem"),
            {name: each.running for name, each in self.replicas.items()},
            {name: self.replicas[f"{name}-1"].environment for name in SERVICES},
        )

    async def start(self) -> None:
        """Start everything and wait until it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self.start_postgres)
        await asyncio.to_thread(self._start_brokers)
        await asyncio.to_thread(migrate_all, self.postgres.dsn())
        port = servers.free_port()
        self.sandbox_url = f"http://127.0.0.1:{port}"
        self._sandbox = start_sandbox(self.folder, port, latency_ms=100)
        addresses = {name: f"127.0.0.1:{servers.free_port()}" for name in SERVICES}
        for number in (1, 2):
            for service in SERVICES:
                await self._add(f"{service}-{number}", service, addresses, first=number == 1)
        await self.wait_serving()
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Stop everything."""
        if self._supervisor:
            self._supervisor.cancel()
        for replica in self.replicas.values():
            with suppress(ProcessLookupError):
                replica.running.send_signal(signal.SIGKILL)
            replica.running.wait()
            for link in [replica.postgres, *replica.brokers]:
                await link.close()
        if self._sandbox:
            servers.stop(self._sandbox, signal.SIGTERM)
        for broker in self.brokers:
            broker.stop(signal.SIGTERM)
        self._postgres_stack.close()
        self._standby_stack.close()

    def start_postgres(self) -> None:
        """Start the database server on the data it has, and PgBouncer where it is wanted."""
        server = servers.postgres(self._postgres_folder)
        self._postgres = self._postgres_stack.enter_context(server)
        self._start_pooler()

    def start_standby(self) -> servers.Postgres:
        """Start another database server that copies what this one writes, until `fail_over`."""
        folder = self._postgres_folder
        self._standby_folder = folder.with_name(folder.name + "-standby")
        server = standby_of(self.postgres, self._standby_folder, durable=True)
        return self._standby_stack.enter_context(server)

    def fail_over(self, standby: servers.Postgres) -> None:
        """Kill the database server, for good; connections lead to the standby from now on."""
        self.kill_postgres()
        self._postgres, self._postgres_folder = standby, self._standby_folder
        self._postgres_stack, self._standby_stack = self._standby_stack, ExitStack()
        self._start_pooler()

    def _start_pooler(self) -> None:
        if self._pooled:
            pooler = pgbouncer(self.folder / "pgbouncer", self.postgres, size=20)
            self._pooler = self._postgres_stack.enter_context(pooler)

    def kill_postgres(self) -> None:
        """Kill the database server and wait until its children have ended, too."""
        server = psutil.Process(self.postgres.process.pid)
        processes = [server, *server.children(recursive=True)]
        server.kill()
        psutil.wait_procs(processes, timeout=PROCESS_GONE_SECONDS)
        self._postgres_stack.close()

    def signal_postgres(self, number: signal.Signals) -> None:
        """Signal the database server and all its children."""
        server = psutil.Process(self.postgres.process.pid)
        for process in [server, *server.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    async def wait_serving(self) -> None:
        """Wait until every replica serves; a busy machine starts them slowly."""
        deadline = time.monotonic() + SERVING_SECONDS
        for replica in self.replicas.values():
            while True:
                logs = self.folder / f"{replica.name}-{replica.starts}"
                try:
                    await asyncio.to_thread(
                        wait_serving, replica.service, replica.address, replica.running, logs
                    )
                    break
                except StackError:
                    if time.monotonic() > deadline:
                        raise

    async def started_again(self, replica: Replica, before: subprocess.Popen[bytes]) -> None:
        """Wait until a replica has another process than before, which listens."""
        host, port = replica.address.split(":")
        async with asyncio.timeout(STARTED_SECONDS):
            while replica.running is before:
                await asyncio.sleep(0.1)
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(host, int(port))
                    writer.close()
                    return
                await asyncio.sleep(0.1)

    def _start_brokers(self) -> None:
        ports = [servers.free_port() for _ in range(3)]
        routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in ports)
        users = nats_users(self.folder)
        for number, port in enumerate(ports, 1):
            cluster = (
                f"server_name: broker-{number}\ncluster {{ name: campaign, no_advertise: true,"
                f' listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
            )
            folder = self.folder / f"broker-{number}"
            broker = Broker(f"broker-{number}", folder, servers.free_port(), users + cluster)
            broker.start()
            self.brokers.append(broker)

    async def _add(
        self, name: str, service: str, addresses: Mapping[str, str], *, first: bool
    ) -> None:
        async def database() -> Streams:
            if self._pooler:
                return await asyncio.open_connection(*self._pooler.split(":"))
            path = self.postgres.socket_folder / ".s.PGSQL.5432"
            return await asyncio.open_unix_connection(str(path))

        postgres = Link(database)
        brokers = [Link(_dialler(broker.port)) for broker in self.brokers]
        for link in [postgres, *brokers]:
            await link.listen()
        address = addresses[service] if first else f"127.0.0.1:{servers.free_port()}"
        metrics = f"127.0.0.1:{servers.free_port()}"
        urls = [f"nats://127.0.0.1:{link.port}" for link in brokers]
        own = {
            "PROSPECT_LISTEN": address,
            "PROSPECT_METRICS_LISTEN": metrics,
            "PROSPECT_POSTGRES_DSN": f"postgresql://{service}_app@127.0.0.1:{postgres.port}/postgres",
            "PROSPECT_NATS_URL": ",".join(urls),
        }
        settings = environment(
            self.folder,
            service,
            self.postgres,
            urls[0],
            signing_key(self.folder / "signing-key.pem"),
            addresses,
            self.sandbox_url,
        )
        replica = Replica(
            name, service, address, metrics, postgres, brokers, settings | self._settings | own
        )
        self.replicas[name] = replica
        replica.start(self.folder)

    async def _supervise(self) -> None:
        """Start again whatever replica has ended, as the platform does."""
        while True:
            await asyncio.sleep(0.3)
            for replica in self.replicas.values():
                if replica.running.poll() is not None:
                    replica.start(self.folder)


def _dialler(port: int) -> Callable[[], Awaitable[Streams]]:
    return lambda: asyncio.open_connection("127.0.0.1", port)


@asynccontextmanager
async def cluster(
    folder: Path, *, pooled: bool = False, settings: Mapping[str, str] = NO_MORE
) -> AsyncIterator[Cluster]:
    """Run a cluster, as `Cluster` tells."""
    started = Cluster(folder, pooled=pooled, settings=settings)
    try:
        await started.start()
        yield started
    finally:
        await started.stop()
