"""A pooler between a service and Postgres, such as PgBouncer in transaction mode.

It lends a server for one transaction: whatever a session holds (settings, prepared statements,
advisory locks) is gone after it, or somebody else's. So behind one every statement of ours stands
in a transaction that makes its own settings and prepares its own statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from chassis.postgres.servers import Servers

if TYPE_CHECKING:
    Base = asyncpg.Connection[asyncpg.Record]
else:
    Base = asyncpg.Connection


class PooledConnection(Base):
    """A connection to a pooler; `local_settings` are made in each transaction.

    asyncpg must not cache statements for it.
    """

    local_settings = ""

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        """Run a statement, or statements that begin a transaction, with the settings made."""
        if self.is_in_transaction():
            return await super().execute(query, *args, **options)
        begin, _, rest = query.partition(";")
        if begin.lower().startswith("begin"):
            query = f"{begin}; {self.local_settings}; {rest}"
            return await super().execute(query, **options)
        async with self.transaction():
            return await super().execute(query, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> None:
        """Run a statement for each of the arguments, in one transaction."""
        if self.is_in_transaction():
            return await super().executemany(command, args, **options)
        async with self.transaction():
            return await super().executemany(command, args, **options)

    async def _execute(self, *args: Any, **options: Any) -> Any:
        """Run what `fetch` and its like are asked, in a transaction."""
        if self.is_in_transaction():
            return await super()._execute(*args, **options)  # type: ignore[misc]
        async with self.transaction():
            return await super()._execute(*args, **options)  # type: ignore[misc]

    async def _get_statement(self, *args: Any, **options: Any) -> Any:
        """Prepare a statement, never with a name: another replica may have given the same one."""
        return await super()._get_statement(*args, **(options | {"named": False}))  # type: ignore[misc]


async def connect_by_any(servers: Servers, **options: Any) -> PooledConnection:
    """Connect in the way that works with a pooler between, and without one."""
    connection: PooledConnection = await servers.connect(
        connection_class=PooledConnection, statement_cache_size=0, **options
    )
    return connection


async def is_pooled(connection: PooledConnection) -> bool:
    """Return whether there is a pooler between.

    A server names its process as one connects. A pooler, which has no server yet, makes that up.
    """
    process = await connection.fetchval("select pg_backend_pid()")
    return bool(process != connection.get_server_pid())
