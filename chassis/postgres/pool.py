"""A pool that does not hang: nobody waits long for a connection, and dead ones are found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from chassis.transient import TRANSIENT, RetryLater

if TYPE_CHECKING:
    Base = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Base = asyncpg.Pool

_log = structlog.get_logger()


class PatientPool(Base):
    """A pool with limits to every wait, and with the database's clock.

    `answers` says whether Postgres does: a pool all of whose connections are taken knows as well.
    """

    answers = True
    # The database's time, and when that was by the process's own clock.
    _told = (datetime.min.replace(tzinfo=UTC), 0.0)
    _watching: asyncio.Task[None] | None = None
    _for_connection: float | None = None

    def bound(
        self,
        for_connection: float,
        on_wire: float,
        connection: Any,
        connect: Callable[[], Awaitable[Any]],
    ) -> None:
        """Bound the waits for a connection, and for Postgres to say anything, to these seconds.

        A connection beside the pool, and those that `connect` makes after it, ask Postgres time and
        again: where a kernel or a proxy answers for a server that does not, TCP's own timers find
        nothing.
        """
        self._for_connection = for_connection
        self._watching = asyncio.create_task(self._watch(connection, on_wire, connect))

    def now(self) -> datetime:
        """Return the database's time, which all replicas share.

        Leases, deadlines and what is due are written by one replica and read by another, whose own
        clocks may be minutes apart. This process's clock measures how long ago it asked.
        """
        told, asked = self._told
        return told + timedelta(seconds=time.monotonic() - asked)

    async def read_clock(self, connection: Any) -> None:
        """Ask the database what time it is."""
        began = time.monotonic()
        told = await connection.fetchval("select clock_timestamp()")
        self._told = told.astimezone(UTC), (began + time.monotonic()) / 2

    async def _acquire(self, asked: float | None) -> Connection:
        # Every way to a connection of the pool leads through here.
        seconds = asked or self._for_connection
        try:
            return await super()._acquire(seconds)  # type: ignore[misc, no-any-return]
        except TimeoutError:
            raise RetryLater(f"no connection to Postgres within {seconds or 0:g} s") from None

    async def close(self) -> None:
        """Close all connections, that of the watch as well."""
        if self._watching:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        await super().close()

    async def _watch(
        self, connection: Any, on_wire: float, connect: Callable[[], Awaitable[Any]]
    ) -> None:
        try:
            while True:
                await asyncio.sleep(on_wire / 5)
                asked, established = time.monotonic(), connection is not None
                try:
                    async with asyncio.timeout(on_wire / 2):
                        connection = await self._ask(connection, connect)
                    self.answers = True
                except (*TRANSIENT, asyncpg.PostgresError) as error:
                    late = time.monotonic() - asked - on_wire / 2
                    self._note_silence(error, late, established)
                    if connection:
                        connection.terminate()
                    connection = None
        finally:
            if connection:
                connection.terminate()

    async def _ask(self, connection: Any, connect: Callable[[], Awaitable[Any]]) -> Any:
        """Ask once, by another connection where this one has ended; return the one that works.

        One connection that was ended, as an administrator may, is no server that is away.
        """
        if connection:
            try:
                await self.read_clock(connection)
            except TimeoutError:
                raise
            except (*TRANSIENT, asyncpg.PostgresError):
                connection.terminate()
            else:
                return connection
        connection = await connect()
        await self.read_clock(connection)
        return connection

    def _note_silence(self, error: Exception, late: float, established: bool) -> None:
        """Give up all connections where nothing came through one that was established.

        It is nobody's silence but ours where this process itself stood still.
        """
        if late > 1:
            return
        if self.answers:
            _log.warning("Postgres does not answer", error=repr(error))
        self.answers = False
        # A pooler whose servers are all taken is silent too.
        direct = self._connection_class is asyncpg.Connection  # type: ignore[attr-defined]
        if established and direct and isinstance(error, TimeoutError):
            # asyncpg itself ends those only that nobody has in hand.
            for holder in self._holders:  # type: ignore[attr-defined]
                if holder._con is not None:
                    holder._con.terminate()
