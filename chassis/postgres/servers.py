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
        self._options: dict[str, Any] = (
            {} if ATTRIBUTES in parts.query else {ATTRIBUTES: "read-write"}
        )

    async def connect(self, *_: Any, **options: Any) -> Any:
        """Connect to the first that answers as it should; raise the last one's error."""
        seconds = SECONDS_EACH if len(self._dsns) > 1 else CONNECT_SECONDS
        failure: Exception | None = None
        for dsn in tuple(self._dsns):
            self._put_last(dsn)  # also where whoever waits gives up meanwhile
            try:
                connection = await asyncpg.connect(dsn, timeout=seconds, **self._options, **options)
            except TimeoutError:
                failure = ConnectionError(f"no answer within {seconds:.0f} s")
            except TRANSIENT as error:
                failure = error
            else:
                self._put_first(dsn)
                return connection
        assert failure is not None  # noqa: S101 -- a DSN has a server, if only the local one
        raise failure

    def _put_last(self, dsn: str) -> None:
        self._dsns.remove(dsn)
        self._dsns.append(dsn)

    def _put_first(self, dsn: str) -> None:
        self._dsns.remove(dsn)
        self._dsns.insert(0, dsn)


def takes_no_writes(connection: Connection) -> bool:
    """Return whether a server has said that it has become read-only since it was connected to."""
    settings = connection.get_settings()
    named = ("in_hot_standby", "default_transaction_read_only")
    return any(getattr(settings, each, "off") == "on" for each in named)
