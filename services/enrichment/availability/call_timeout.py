"""How long a call to a source may take, without the waits for our own rate.

A call of several requests waits for a slot of the rate before each. Were that counted, a rate that
many calls share would make a source look slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar


class NoRoom(Exception):
    """A call got no slot of its source's rate in the time that it could wait."""


class _CallTime:
    """A call's timeout, which is stopped while one of the call's requests waits for a slot."""

    def __init__(self, timeout: asyncio.Timeout, ends_at: float, wait_until: float) -> None:
        self.waiting = 0
        self._timeout = timeout
        self._ends_at = ends_at
        self._wait_until = wait_until
        self._stopped_at = 0.0

    def stop(self) -> None:
        if not self.waiting:
            self._stopped_at = asyncio.get_running_loop().time()
            self._timeout.reschedule(self._wait_until)
        self.waiting += 1

    def go_on(self) -> None:
        if self._timeout.expired():  # while it waited: `waiting` tells
            return
        self.waiting -= 1
        if not self.waiting:
            self._ends_at += asyncio.get_running_loop().time() - self._stopped_at
            self._timeout.reschedule(self._ends_at)


_CALL: ContextVar[_CallTime | None] = ContextVar("call_time", default=None)


@asynccontextmanager
async def limited(seconds: float, longest_wait: float) -> AsyncIterator[None]:
    """End a call with a TimeoutError after `seconds`, in which waits for slots do not count.

    A wait that lasts until `longest_wait` has passed since the call began ends it with NoRoom.
    """
    now = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(now + seconds) as timeout:
            call = _CallTime(timeout, now + seconds, now + longest_wait)
            token = _CALL.set(call)
            try:
                yield
            finally:
                _CALL.reset(token)
    except TimeoutError:
        if call.waiting:
            raise NoRoom from None
        raise


@contextmanager
def waiting() -> Iterator[None]:
    """Stop the timeout of the call that waits for a slot, where a call does."""
    call = _CALL.get()
    if call is None:
        yield
        return
    call.stop()
    try:
        yield
    finally:
        call.go_on()
