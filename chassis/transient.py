"""Transient errors: no one is at fault; the same work may succeed in a moment, so it is retried.

A caller is answered UNAVAILABLE with RetryInfo. An event waits, however often it was delivered:
the limit on tries is for what is wrong with an event itself.

PostgreSQL's are told apart by the class of the SQLSTATE, or by the code where the class also has
errors of the statement (https://www.postgresql.org/docs/current/errcodes-appendix.html).
"""

from __future__ import annotations

import asyncpg
import nats.errors


class RetryLater(Exception):
    """What the work needs is not there yet, such as another service; the text says what."""


OF_POSTGRES = (
    asyncpg.PostgresConnectionError,  # 08
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a primary that has become a replica
    asyncpg.IdleInTransactionSessionTimeoutError,  # 25P03
    asyncpg.TransactionTimeoutError,  # 25P04
    asyncpg.InvalidAuthorizationSpecificationError,  # 28: no login, a password that was changed
    asyncpg.InvalidCatalogNameError,  # 3D000: the database is being restored
    asyncpg.TransactionRollbackError,  # 40: deadlock, serialization
    asyncpg.InsufficientResourcesError,  # 53: disk, memory, connections
    asyncpg.ObjectNotInPrerequisiteStateError,  # 55: a lock that is not available
    asyncpg.OperatorInterventionError,  # 57: cancelled, shutting down, starting
    asyncpg.PostgresSystemError,  # 58: input and output
    asyncpg.SnapshotTooOldError,  # 72000
    asyncpg.DataCorruptedError,  # XX001: for the operator to repair, and nobody's event to pay for
    asyncpg.IndexCorruptedError,  # XX002
)
_REPLANNED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
"""0A000: a migration changed a table since its statement was planned."""
ABORTED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, *_REPLANNED)
"""A transaction was given up, for another or for a migration: begun again at once, it succeeds."""
OF_ANOTHER_RELEASE = (
    *_REPLANNED,
    asyncpg.InvalidSchemaNameError,  # 3F000
    asyncpg.UndefinedTableError,  # 42P01
    asyncpg.UndefinedColumnError,  # 42703
    asyncpg.UndefinedFunctionError,  # 42883
)
"""A release that runs before its migration, or a replica of the one before."""
TRANSIENT = (
    RetryLater,
    OSError,
    *OF_POSTGRES,
    *OF_ANOTHER_RELEASE,
    asyncpg.InterfaceError,
    # asyncpg has lost its place in the protocol: the server said goodbye to an idle connection, and
    # its end has not come in yet.
    asyncpg.InternalClientError,
    nats.errors.Error,
)
