"""Real servers for every test: one PostgreSQL with a database a test, and a NATS a test."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import hypothesis
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.admission import drain
from chassis.broker.client import BrokerClient, connect
from chassis.broker.streams import ensure
from chassis.database import Pool, open_pool
from devstack import servers
from devstack.stack import sandbox
from services import topology
from services.enrichment.sources.http import certificates
from tests import clock
from tests.databases import Databases
from tests.harness import Database, Identity, SandboxDesk, Services
from tests.pgbouncer import PooledPostgres, pgbouncer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--today` and `--pgbouncer`."""
    text = "take this moment (ISO 8601, UTC) for now, as tests/clock.py tells"
    parser.addoption("--today", type=datetime.fromisoformat, metavar="MOMENT", help=text)
    text = "put PgBouncer before PostgreSQL, as tests/pgbouncer.py tells"
    parser.addoption("--pgbouncer", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Shift the clocks before a test's module asks what day it is; let no example be too slow."""
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")
    # Under `nohup … &` Ctrl-C is ignored, and so it would be by the commands that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    today = config.getoption("--today")
    if today and clock.SHIFT not in os.environ:  # a worker of xdist has been shifted already
        clock.take_for_now(today.replace(tzinfo=UTC))


@pytest.fixture(autouse=True)
def clients_leave_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no client at a stop: a test's own has no call left. Those of the drain undo this."""
    monkeypatch.setattr(drain, "GOAWAY_SECONDS", 0)


@pytest.fixture(scope="session")
def postgres(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[servers.Postgres]:
    """A PostgreSQL for all tests of this process."""
    with ExitStack() as running:
        folder = tmp_path_factory.mktemp("postgres")
        server = running.enter_context(servers.postgres(folder, durable=False))
        if pytestconfig.getoption("--pgbouncer"):
            pooler = pgbouncer(tmp_path_factory.mktemp("pgbouncer"), server)
            address = running.enter_context(pooler)
            server = PooledPostgres(server.socket_folder, server.process, address)
        yield server


@pytest.fixture(scope="session")
def databases(postgres: servers.Postgres) -> Databases:
    """That server's databases, copied from a template with the three schemas."""
    databases = Databases(postgres)
    asyncio.run(databases.prepare())
    return databases


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """A database of the test's own, with nothing in it."""
    database = await databases.take()
    yield database
    await databases.give_back(database)


@pytest.fixture
async def no_months(database: Database) -> None:
    """Drop the log's partitions: the template has this month's and the next three."""
    parent = "activity.activity_log"
    months = "select inhrelid::regclass::text as name from pg_inherits"
    for month in await database.fetch(f"{months} where inhparent = '{parent}'::regclass"):
        await database.fetch(f"drop table {month['name']}")


@pytest.fixture(scope="session")
def shared_database(databases: Databases) -> Database:
    """One copy for the tests that leave it as it was, or only add rows of tenants of their own."""
    return asyncio.run(databases.copy())


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[servers.Nats]:
    """A NATS server of the test's own."""
    with servers.nats_server(tmp_path / "nats") as server:
        yield server
        server.process.kill()  # a clean stop takes a tenth of a second, for data that nobody reads


@pytest.fixture
async def nats(nats_server: servers.Nats) -> AsyncIterator[BrokerClient]:
    """A connection to a NATS server that has all streams."""
    client = await connect(nats_server.url, "test")
    await ensure(client, topology.STREAMS)
    yield client
    await client.close()


@pytest.fixture(scope="session")
def signing_key() -> Ed25519PrivateKey:
    """The key whose public half the services under test trust."""
    return Ed25519PrivateKey.generate()


@pytest.fixture
def ours(signing_key: Ed25519PrivateKey) -> Identity:
    """A user of one tenant."""
    return Identity(signing_key, uuid.uuid4(), uuid.uuid4())


@pytest.fixture
def theirs(signing_key: Ed25519PrivateKey) -> Identity:
    """A user of another tenant."""
    return Identity(signing_key, uuid.uuid4(), uuid.uuid4())


@pytest.fixture
def services(
    database: Database,
    nats_server: servers.Nats,
    signing_key: Ed25519PrivateKey,
    tmp_path: Path,
) -> Services:
    """What starts services against this test's database and NATS."""
    return Services(database, nats_server.url, signing_key, tmp_path)


@pytest.fixture
async def pool(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    """A pool as a service's own role; parametrize indirectly with the service's name."""
    schema = getattr(request, "param", "activity")
    pool = await open_pool(database.dsn(f"{schema}_app"), schema=schema, size=4)
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[str]:
    """The sources' sandbox as a process of its own; yields its address."""
    with sandbox() as url:
        yield url


@pytest.fixture
async def sandbox_desk(sandbox_process: str) -> AsyncIterator[SandboxDesk]:
    """The sandbox with no calls counted and no faults ordered."""
    async with httpx.AsyncClient(base_url=sandbox_process, verify=certificates()) as client:
        await client.delete("/_sandbox/calls")
        await client.delete("/_sandbox/faults")
        yield SandboxDesk(client)
