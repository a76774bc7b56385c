"""What tests are made of: a database, users with tokens, services in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import grpc
import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pydantic import SecretStr

from chassis import service
from devstack import servers
from devstack.stack import ALL_SCOPES, mint
from services.cli.operate.services import ServiceName, settings_of, wiring_of


async def admin(server: servers.Postgres, sql: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@dataclass(frozen=True)
class Database:
    """A database of the test's own."""

    server: servers.Postgres
    name: str

    def dsn(self, user: str = "postgres") -> str:
        """Return a DSN for `user`."""
        return self.server.dsn(user, self.name)

    async def end_sessions(self) -> None:
        """Cut every connection to this database, as a failover does."""
        name = self.name
        await admin(
            self.server,
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'",
        )

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement as the superuser, past row level security."""
        connection = await asyncpg.connect(self.dsn())
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()


@asynccontextmanager
async def holding(database: Database, sql: str, *arguments: object) -> AsyncIterator[None]:
    """Hold locks until the block ends."""
    connection = await asyncpg.connect(database.dsn())
    try:
        async with connection.transaction():
            await connection.execute(sql, *arguments)
            yield
    finally:
        await connection.close()


@dataclass(frozen=True)
class Identity:
    """A tenant's user with a token."""

    key: Ed25519PrivateKey
    tenant_id: uuid.UUID
    user_id: uuid.UUID

    def metadata(
        self, scopes: str = ALL_SCOPES, lifetime: timedelta = timedelta(minutes=5)
    ) -> tuple[tuple[str, str], ...]:
        """Return the call metadata of this user."""
        token = mint(self.key, self.tenant_id, self.user_id, scopes, lifetime)
        return (("authorization", f"Bearer {token}"),)


@dataclass
class Services:
    """Starts services in the test's own process, on real servers."""

    database: Database
    nats_url: str
    key: Ed25519PrivateKey
    folder: Path
    addresses: dict[ServiceName, str] = field(default_factory=dict)
    log_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @asynccontextmanager
    async def running(self, name: ServiceName, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
        """Serve until the block ends; yield a channel on which the service answers.

        The channel has TLS where `credentials` are given beside the settings.
        """
        credentials: grpc.ChannelCredentials | None = settings.pop("credentials", None)
        wiring = wiring_of(name)
        address = settings.get("listen", f"127.0.0.1:{servers.free_port()}")
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        values: dict[str, Any] = {
            "listen": address,
            "postgres_dsn": SecretStr(self.database.dsn(f"{name.value}_app")),
            "nats_url": self.nats_url,
            "auth_public_key": public.decode(),
            "drain_pause_seconds": 0,
            "drain_seconds": 1,
            "auth_leeway_seconds": 0,
        }
        if name is ServiceName.ACTIVITY:
            values["log_signing_key_file"] = self._log_key_file()
        config = settings_of(name)(**(values | settings))
        stopping = asyncio.Event()
        serving = asyncio.create_task(
            service.serve(
                name.value,
                config,
                wiring.topology,
                lambda foundation: wiring.build(foundation, config),
                stopping,
            )
        )
        try:
            await _unless_stopped(serving, _listening(address))
            async with channel_to(address, credentials) as channel:
                await _unless_stopped(serving, channel.channel_ready())
                self.addresses[name] = address
                yield channel
        finally:  # a test that failed must not leave a service to the next one
            stopping.set()
        await serving

    def audit_token_file(self) -> Path:
        """Return a file with a token that may audit the log."""
        path = self.folder / "audit-token"
        token = mint(self.key, None, uuid.UUID(int=0), "activity:audit", timedelta(minutes=5))
        path.write_text(token)
        return path

    def _log_key_file(self) -> Path:
        """Return a file with the key that signs the log's checkpoints."""
        path = self.folder / "log-signing-key.pem"
        if not path.exists():
            path.write_bytes(pem_of(self.log_key))
        return path


def channel_to(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Open a channel, with TLS where credentials are given."""
    if credentials is None:
        return grpc.aio.insecure_channel(address)
    return grpc.aio.secure_channel(address, credentials)


def pem_of(key: Ed25519PrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


async def _unless_stopped(serving: asyncio.Task[None], wait: Coroutine[Any, Any, None]) -> None:
    """Wait for twenty seconds at most, or fail with what stopped the service."""
    waiting = asyncio.create_task(wait)
    await asyncio.wait({serving, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    answered = waiting.done()
    waiting.cancel()
    if serving.done():
        serving.result()
    assert answered, "the service does not answer"


async def _listening(address: str) -> None:
    """Wait until the port is open.

    A channel that finds it closed would not look again for a tenth of a second.
    """
    host, _, port = address.rpartition(":")
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            return
        await asyncio.sleep(0.002)


@dataclass(frozen=True)
class SandboxDesk:
    """How a test asks the sandbox how often it was called, and orders faults."""

    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        """Where the sandbox answers as the sources."""
        return str(self.client.base_url)

    async def calls(self, source: str, about: str = "") -> int:
        """Return how often a source was asked, about one person or company, or at all."""
        answer = (await self.client.get("/_sandbox/calls")).json()
        if about:
            return int(answer["about"].get(source, {}).get(about, 0))
        return int(answer.get(source, 0))

    async def order(self, source: str, kind: str, **fault: Any) -> None:
        """Order a fault."""
        body = {"source": source, "kind": kind, **fault}
        (await self.client.post("/_sandbox/faults", json=body)).raise_for_status()


D = TypeVar("D", bound=Message)


def detail(error: grpc.aio.AioRpcError, kind: type[D]) -> D:
    """Return one of the error's details, empty where it has none of the kind."""
    status = rpc_status.from_call(error)
    assert status is not None
    found = kind()
    for each in status.details:
        if each.Is(found.DESCRIPTOR):
            each.Unpack(found)
    return found


def violations(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    """Return (field, rule) of the error's BadRequest details."""
    bad = detail(error, error_details_pb2.BadRequest)
    return [(each.field, each.reason) for each in bad.field_violations]


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Return the error's reason and its metadata."""
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return info
