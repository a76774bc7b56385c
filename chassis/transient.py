"""Transient errors: no one is at fault; the same work may succeed in a moment, so it is retried."""

from __future__ import annotations

import asyncpg
import nats.errors


class RetryLater(Exception):
    """What the work needs is not there yet, such as another service; the text says what."""


TRANSIENT = (
    RetryLater,
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TooManyConnectionsError,
    # asyncpg has lost its place in the protocol: the server said goodbye to an idle connection, and
    # its end has not come in yet.
    asyncpg.InternalClientError,
    nats.errors.Error,
)
