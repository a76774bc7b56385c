"""A process that dies at a chosen line: its pool is cut at one of its commits, for good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from chassis.database import Pool


class Crashed(ConnectionError):
    """What a dead process cannot do any more."""


class CrashingPool:
    """A pool that fails at its `at`-th commit, before or after it, and from then on."""

    def __init__(self, pool: Pool, at: int, *, after: bool) -> None:
        self._pool = pool
        self._left = at
        self._after = after
        self.dead = False

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """Give a connection that dies with the process."""
        self.check()
        async with self._pool.acquire() as connection:
            yield _Connection(connection, self)

    def die_at_next_commit(self) -> None:
        """Die at the commit that comes next."""
        self._left = 1

    def revive(self) -> None:
        """Let the process live on, as if its server had been away."""
        self._left, self.dead = 1_000_000, False

    def check(self) -> None:
        """Raise where the process is dead."""
        if self.dead:
            raise Crashed("the process is dead")

    async def commit(self, connection: Any) -> None:
        """Commit, or die."""
        self._left -= 1
        if self._left > 0:
            await connection.execute("commit")
            return
        if self._left == 0 and self._after:
            await connection.execute("commit")
        else:
            await connection.execute("rollback")
        self.dead = True
        raise Crashed("died at a commit")


class _Connection:
    def __init__(self, connection: Any, pool: CrashingPool) -> None:
        self._connection = connection
        self._pool = pool

    async def execute(self, sql: str, *values: Any) -> Any:
        if sql == "rollback":  # the server does it for a client that is gone
            return await self._connection.execute(sql)
        self._pool.check()
        if sql == "commit":
            return await self._pool.commit(self._connection)
        return await self._connection.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        self._pool.check()
        return getattr(self._connection, name)
