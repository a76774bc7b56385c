"""How long a call may take: the time in which the source is asked, not that in which we wait.

A call of several requests waits for a slot of our own rate before each. Were that counted, a rate
that many share would make a source look slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar


class NoRoom(Exception):
    """A call still waited for a slot when it was to wait no longer."""


class _CallTime:
    """A call's timeout, which stands still while one of the call's requests waits for a slot."""

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
    """Give a call `seconds`: then it ends with a TimeoutError.

    Waits for slots are not counted; one that lasts until `longest_wait` has passed ends the call
    with NoRoom.
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
    """Wait for a slot: the time of the call that waits, if it is one, stands still."""
    call = _CALL.get()
    if call is None:
        yield
        return
    call.stop()
    try:
        yield
    finally:
        call.go_on()
