"""Which server a connection leads to: the one of a DSN's servers that takes writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from chassis.transient import TRANSIENT

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

CONNECT_SECONDS = 10.0
# Of several servers one that has vanished must not take the time that the others need.
SECONDS_EACH = 2.0
ATTRIBUTES = "target_session_attrs"
_READ_ONLY = """
select pg_is_in_recovery() or current_setting('default_transaction_read_only')::boolean
"""


class Servers:
    """The servers of a DSN such as `postgresql://role@first:5432,second:5432/database`.

    The one that took the last connection is tried first. A server that takes no writes, a standby
    as a rule, is passed over unless the DSN has `target_session_attrs` of its own.
    """

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        login, at, hosts = parts.netloc.rpartition("@")
        self._dsns = [
            urlunsplit(parts._replace(netloc=f"{login}{at}{host}")) for host in hosts.split(",")
        ]
        self._to_write = ATTRIBUTES not in parts.query

    async def connect(self, *_: Any, **options: Any) -> Any:
        """Connect to the first that answers as it should; raise the last one's error."""
        seconds = SECONDS_EACH if len(self._dsns) > 1 else CONNECT_SECONDS
        failure: Exception | None = None
        for dsn in tuple(self._dsns):
            self._put_last(dsn)  # also where whoever waits gives up meanwhile
            try:
                return await self._connect(dsn, seconds, **options)
            except TimeoutError:
                failure = ConnectionError(f"no answer within {seconds:.0f} s")
            except TRANSIENT as error:
                failure = error
        assert failure is not None  # noqa: S101 -- a DSN has a server, if only the local one
        raise failure

    async def _connect(self, dsn: str, seconds: float, **options: Any) -> Any:
        connection = await asyncpg.connect(dsn, timeout=seconds, **options)
        try:
            if self._to_write and takes_no_writes(connection):
                await _ask_for_writes(connection, seconds)
        except BaseException:
            connection.terminate()
            raise
        self._put_first(dsn)
        return connection

    def _put_last(self, dsn: str) -> None:
        self._dsns.remove(dsn)
        self._dsns.append(dsn)

    def _put_first(self, dsn: str) -> None:
        self._dsns.remove(dsn)
        self._dsns.insert(0, dsn)


async def _ask_for_writes(connection: Connection, seconds: float) -> None:
    """Raise where the server is read-only: what a pooler says may have been so once."""
    if await connection.fetchval(_READ_ONLY, timeout=seconds):
        raise asyncpg.TargetServerAttributeNotMatched("the server is read-only, not read-write")


def takes_no_writes(connection: Connection) -> bool:
    """Return whether a server has said that it is read-only."""
    settings = connection.get_settings()
    named = ("in_hot_standby", "default_transaction_read_only")
    return any(getattr(settings, each, "off") == "on" for each in named)
