"""Transactions that Postgres gave up for the sake of another: begun again, they get through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from chassis.transient import RetryLater

T = TypeVar("T")
LOST = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
MOST_ATTEMPTS = 5
_log = structlog.get_logger()


async def attempt(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction, again where another was let through first."""
    for _ in range(MOST_ATTEMPTS):
        try:
            return await transaction()
        except LOST as error:
            # No pause: begun again it waits for the locks of the one that was let through.
            _log.warning("transaction lost to another", error=repr(error))
    raise RetryLater("a transaction lost to others again and again")
