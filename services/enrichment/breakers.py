"""A circuit breaker around each source: pybreaker decides, this closes its gaps under asyncio.

pybreaker 1.4.1 has no asyncio; used around an await it lets every waiting call through when half
open, counts cancellations as failures and excluded errors as successes. So the call is awaited
outside of it, and only a verdict is reported: an answer is a success, a fault of the source a
failure, anything else (cancelled, throttled, our own bad request) is neither. One probe at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

import pybreaker
import structlog

from chassis.clock import Clock
from services.enrichment.findings import ErrorClass, SourceError, SourceName

T = TypeVar("T")
FAULTS = frozenset(
    {ErrorClass.TRANSIENT, ErrorClass.INVALID_ANSWER, ErrorClass.AUTH, ErrorClass.QUOTA}
)
_log = structlog.get_logger()


class CircuitOpen(Exception):
    """The source has been failing and is left alone until `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"the breaker is open until {until:%H:%M:%S}")
        self.until = until


class SourceBreaker:
    """One source's breaker, shared by all runs of this process."""

    def __init__(
        self, source: SourceName, *, fail_max: int, reset_seconds: float, clock: Clock
    ) -> None:
        self._source = source
        self._reset = timedelta(seconds=reset_seconds)
        self._clock = clock
        self._breaker = pybreaker.CircuitBreaker(fail_max=fail_max, reset_timeout=reset_seconds)
        self._opened_at = clock()
        self._probing = False

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Await `ask` unless the breaker is open; raise CircuitOpen where it is."""
        probe = self._admit()
        try:
            answer = await ask()
        except SourceError as error:
            if error.error_class in FAULTS:
                self._report(probe, error)
            raise
        else:
            self._report(probe, None)
            return answer
        finally:
            if probe:
                self._probing = False

    def open_until(self) -> datetime | None:
        """Return when the source may be asked again, None when it may be asked now."""
        if self._breaker.current_state == pybreaker.STATE_CLOSED:
            return None
        due_at = self._opened_at + self._reset
        if self._probing or self._clock() < due_at:
            return max(due_at, self._clock() + timedelta(seconds=1))
        return None

    def _admit(self) -> bool:
        """Return whether this call is the probe that may close the breaker."""
        if self._breaker.current_state == pybreaker.STATE_CLOSED:
            return False
        until = self.open_until()
        if until:
            raise CircuitOpen(until)
        self._probing = True
        return True

    def _report(self, probe: bool, error: SourceError | None) -> None:
        if not probe and self._breaker.current_state != pybreaker.STATE_CLOSED:
            return  # begun while closed, ended while open: it says nothing new
        before = self._breaker.current_state
        if probe:
            self._breaker.half_open()
        with contextlib.suppress(SourceError, pybreaker.CircuitBreakerError):
            self._breaker.call(_verdict, error)
        after = self._breaker.current_state
        if after == pybreaker.STATE_OPEN:
            self._opened_at = self._clock()
        if after != before:
            _log.warning("breaker", source=self._source.value, state=after)


def _verdict(error: SourceError | None) -> None:
    if error is not None:
        raise error
