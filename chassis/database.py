"""Postgres: the pool, transactions of a tenant or a narrow role, and SQL kept in files."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from uuid import UUID

import asyncpg
import structlog

from chassis.identity.secrets import without_password
from chassis.postgres.pool import PatientPool
from chassis.postgres.pooler import PooledConnection, connect_by_any, is_pooled
from chassis.postgres.servers import Servers, takes_no_writes
from chassis.settings import ServiceSettings, SettingsError
from chassis.transient import ABORTED, TRANSIENT, RetryLater

if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Init = Callable[[asyncpg.Connection[asyncpg.Record]], Coroutine[Any, Any, None]]
else:
    Connection = asyncpg.pool.PoolConnectionProxy

Pool = PatientPool
Plans = Literal["auto", "force_custom_plan", "force_generic_plan"]
_BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_returns: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive
_told: list[str] = []  # what the log has been told once
MAX_ATTEMPTS = 5
STATEMENTS = 100  # that a connection keeps prepared
OWNER_DSN = "PROSPECT_POSTGRES_OWNER_DSN"
T = TypeVar("T")
_log = structlog.get_logger()
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long a silence is taken for work that goes on, in seconds.

    `in_transaction`: a client that says nothing in a transaction, as a frozen replica does, loses
    it, and with it the locks that others wait for. `for_lock`: a statement waits no longer for a
    lock. `on_wire`: a connection of which nothing comes through is given up, by either side.
    `for_connection`: who needs a connection of the pool waits no longer for one.
    """

    in_transaction: float = 30
    for_lock: float = 30
    on_wire: float = 10
    for_connection: float = 5

    @classmethod
    def of(cls, settings: ServiceSettings) -> Patience:
        """Return that of a service's settings."""
        return cls(
            settings.postgres_idle_transaction_seconds,
            settings.postgres_lock_seconds,
            settings.postgres_silence_seconds,
            settings.postgres_acquire_seconds,
        )

    def of_transactions(self) -> dict[str, str]:
        """Return, as PostgreSQL's settings in milliseconds, those that concern a transaction."""
        return {
            "idle_in_transaction_session_timeout": f"{self.in_transaction * 1000:.0f}",
            "lock_timeout": f"{self.for_lock * 1000:.0f}",
        }

    def of_connections(self) -> dict[str, str]:
        """Return those that concern a connection; one by a Unix socket needs none."""
        return {
            "tcp_user_timeout": f"{self.on_wire * 1000:.0f}",
            "tcp_keepalives_idle": f"{max(self.on_wire / 2, 1):.0f}",
            "tcp_keepalives_interval": f"{max(self.on_wire / 4, 1):.0f}",
        }

    async def watch(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Have the kernel give up this side of a new connection as PostgreSQL does the other."""
        # asyncpg gives no way to set the options of its socket.
        transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]
        wire = transport.get_extra_info("socket")
        if wire.family != socket.AF_UNIX:
            half, quarter = max(int(self.on_wire / 2), 1), max(int(self.on_wire / 4), 1)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, half)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, quarter)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.on_wire * 1000))


async def open_pool(
    dsn: str,
    *,
    schema: str,
    size: int,
    plans: Plans = "auto",
    init: Init | None = None,
    tls: ssl.SSLContext | None = None,
    patience: Patience = Patience(),
) -> Pool:
    """Open a pool whose connections find names in `schema`; raise where Postgres does not answer.

    `plans` says whether statements are planned for their values, once for all values, or as
    Postgres chooses; `init` prepares each new connection. With `tls` a server without TLS is
    refused; without it the DSN says whether there is TLS.
    """
    servers = Servers(dsn)
    name = {"application_name": f"prospect-{schema}"}
    connect = partial(connect_by_any, servers, ssl=tls, server_settings=name)
    watch = await connect()
    try:
        pooled = await is_pooled(watch)
        local = {"search_path": schema, "plan_cache_mode": plans, **patience.of_transactions()}
        pool = PatientPool(
            dsn,
            connect=servers.connect,
            connection_class=PooledConnection if pooled else asyncpg.Connection,
            record_class=asyncpg.Record,
            loop=None,
            init_size=1,
            min_size=0,  # asyncpg would log a trace whenever it cannot keep more
            max_size=size,
            max_queries=50_000,
            max_inactive_connection_lifetime=300,
            init=_preparing(pooled, local, patience, init),
            reset=_clean if pooled else _clean_or_end,
            ssl=tls,
            command_timeout=60,
            statement_cache_size=0 if pooled else STATEMENTS,
            server_settings=name if pooled else name | local | patience.of_connections(),
        )
        await pool.read_clock(watch)
        await pool
    except BaseException:
        watch.terminate()
        raise
    pool.bound(patience.for_connection, patience.on_wire, watch, connect)
    return pool


def _preparing(pooled: bool, local: dict[str, str], patience: Patience, init: Init | None) -> Init:
    """Return what makes a new connection ready."""

    async def prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        await patience.watch(connection)
        missing = await _missing_durability(connection)
        if pooled:
            texts = [f"set local {each} = '{value}'" for each, value in (local | missing).items()]
            cast("PooledConnection", connection).local_settings = "; ".join(texts)
        elif missing:
            await connection.execute("set synchronous_commit = on")
        if init:
            await init(connection)

    return prepare


async def connect_as_owner(
    dsn: str, tls: ssl.SSLContext | None = None
) -> asyncpg.Connection[asyncpg.Record]:
    """Open the connection of the role that owns a schema; raise SettingsError without one."""
    with reaching_by(OWNER_DSN, dsn):
        servers = Servers(dsn)
        tried = await connect_by_any(servers, ssl=tls)
        pooled = await is_pooled(tried)
        tried.terminate()
        if pooled:
            text = "leads through a pooler: migrations need a session of PostgreSQL itself"
            raise SettingsError(f"{OWNER_DSN} {text}")
        connection: asyncpg.Connection[asyncpg.Record] = await servers.connect(ssl=tls)
        return connection


@contextmanager
def reaching_by(variable: str, dsn: str) -> Iterator[None]:
    """Raise SettingsError, which names the variable and no password, where a DSN leads nowhere."""
    try:
        yield
    except (asyncpg.ClientConfigurationError, ValueError, ArithmeticError) as error:
        if isinstance(error, ssl.SSLError):  # one of a certificate is a ValueError as well
            raise SettingsError(f"{variable}: no connection: {error}") from None
        # What cannot be parsed may be quoted by the error, and be a part of the password.
        form = "postgresql://role:password@host:5432/database"
        text = f"is no DSN: write {form}, and encode special characters of the password (%40 for @)"
        raise SettingsError(f"{variable} {text}") from None
    except (*TRANSIENT, asyncpg.PostgresError) as error:
        why = without_password(str(error), dsn)
        raise SettingsError(f"{variable}: no connection: {why}") from None


async def _missing_durability(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, str]:
    """Return the setting by which a commit waits for the disk, where a role's say otherwise.

    What we acknowledge is committed: with `synchronous_commit = off` a crash would undo it.
    """
    if await connection.fetchval("select current_setting('synchronous_commit')") != "off":
        return {}
    if not _told:
        _told.append("synchronous_commit")
        _log.warning("synchronous_commit is off in Postgres: set on for what is acknowledged")
    return {"synchronous_commit": "on"}


async def _clean(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Reset a connection on its release, without asyncpg's round trip: all we set is local."""
    if connection.is_in_transaction():
        await connection.execute("rollback")


async def _clean_or_end(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Reset a connection to a server, or end it once the server takes no writes any more."""
    if takes_no_writes(connection):
        connection.terminate()
    else:
        await _clean(connection)


@asynccontextmanager
async def tenant_transaction(
    pool: Pool, tenant_id: UUID, *, plans: Plans = "auto"
) -> AsyncIterator[Connection]:
    """Open a transaction that sees and writes the rows of one tenant only.

    The setting ends with the transaction, so a pooled connection never carries a tenant over.
    `plans` is as for a pool, for its statements.
    """
    setting = _of_tenant(tenant_id)
    if plans != "auto":
        setting += f"; set local plan_cache_mode = {plans}"
    async with pool.acquire() as connection, _transaction(connection, setting):
        yield connection


async def read(pool: Pool, statement: str, *values: object) -> list[asyncpg.Record]:
    """Run one reading statement that is its own transaction and sets its own tenant.

    The connection returns to the pool after this returns: the caller does not wait for that.
    """
    connection = await pool.acquire()
    try:
        return await connection.fetch(statement, *values)
    finally:
        returning = asyncio.create_task(pool.release(connection))
        _returns.add(returning)
        returning.add_done_callback(_returns.discard)


@asynccontextmanager
async def tenant_snapshot(pool: Pool, tenant_id: UUID) -> AsyncIterator[Connection]:
    """Open a read-only transaction that sees one tenant's rows as they are now, until its end.

    It is opened through asyncpg, unlike the other transactions here: a cursor needs that.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(_of_tenant(tenant_id))
        yield connection


@asynccontextmanager
async def role_transaction(
    pool: Pool, role: str, *, durable: bool = True
) -> AsyncIterator[Connection]:
    """Open a transaction as one of the service's narrow roles, for work across tenants.

    Without `durable` the commit does not wait for the disk: a crash of Postgres may undo it.
    """
    setting = f'set local role "{role}"'
    if not durable:
        setting += "; set local synchronous_commit = off"
    async with pool.acquire() as connection, _transaction(connection, setting):
        yield connection


@asynccontextmanager
async def _transaction(connection: Connection, setting: str) -> AsyncIterator[None]:
    """Begin a transaction and make a local setting in one round trip.

    `setting` is never made of a caller's words. A connection that cannot roll back is closed, so
    that no other caller gets it.
    """
    try:
        await connection.execute(f"begin; {setting}")
        yield
        await connection.execute("commit")
    except BaseException:
        try:
            await connection.execute("rollback")
        except _BROKEN:
            connection.terminate()
        raise


async def retry_if_aborted(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction; begin it again where it was given up for another one or a migration.

    Raises RetryLater after MAX_ATTEMPTS.
    """
    for _ in range(MAX_ATTEMPTS):
        try:
            return await transaction()
        except ABORTED as error:
            # Without a pause: the next attempt waits for the locks of the transaction that won.
            _log.warning("transaction begun again", error=repr(error))
    raise RetryLater(f"the transaction was given up {MAX_ATTEMPTS} times")


def _of_tenant(tenant_id: UUID) -> str:
    return f"set local app.current_tenant_id = '{UUID(int=tenant_id.int)}'"


class Queries:
    """The named statements of one .sql file; `-- name: x` begins each."""

    def __init__(self, path: Path) -> None:
        parts = _NAME.split(path.read_text())
        self.statements = dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))

    def __getattr__(self, name: str) -> str:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"no query is named {name}") from None
