"""Whether a source may be asked: its breaker, its Retry-After and its pause, one for all replicas.

The truth is a row a source in Postgres, written only when it changes and fenced by `epoch`; every
replica holds a copy, renewed each second and at once when a change is told of. The row counts the
failures in a row, of all replicas, and pybreaker decides by it; what that lacks under asyncio
(1.4.1) is closed here: the call is awaited outside of it and only a verdict reported, so that an
answer is a success, a fault of the source a failure, and anything else (cancelled, throttled, our
own bad request) neither; a call that began before the last change says nothing any more. When an
opened breaker is due, one probe for the fleet goes through; when all of a wave have succeeded, the
next may be twice as many: two, four, eight, then it is closed. A wave waits for callers as long as
it takes. A probe that says nothing gives its place to another; after one whose process died, one
probe begins anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pybreaker
import structlog

from chassis import outbox
from chassis.clock import Clock
from chassis.database import Connection, Pool, tenant_transaction
from chassis.outbox import Relay
from services.enrichment.availability import announcements, store
from services.enrichment.gauges import SOURCE_STATE
from services.enrichment.run.state import Denial, StepStatus
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SourceName

FAULTS = frozenset(
    {ErrorClass.TRANSIENT, ErrorClass.INVALID_ANSWER, ErrorClass.AUTH, ErrorClass.QUOTA}
)
DEPLOYMENT = UUID(int=0)
"""The tenant of events that belong to none."""
STATES = ("closed", "open", "half_open", "parked", "paused")
LARGEST_WAVE = 8
LONGEST_RESET = timedelta(minutes=10)
PROBE_SECONDS = 60.0
"""How long after a wave's last place was taken a probe that is not back is taken for lost."""
LOOK_AGAIN = timedelta(seconds=1)
COPY_AGE = timedelta(seconds=1)
PAUSE_LOOK = timedelta(seconds=5)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source's row."""

    source: SourceName
    state: str = "closed"
    epoch: int = 0
    reason: str = ""
    failures: int = 0
    open_until: datetime | None = None
    openings: int = 0
    parked_until: datetime | None = None
    parked_reason: str = ""
    paused: bool = False
    paused_until: datetime | None = None
    paused_reason: str = ""

    @classmethod
    def of(cls, row: asyncpg.Record) -> SourceState:
        """Return a row as a value."""
        values = {name: row[name] for name in cls.__slots__ if name != "source"}
        return cls(SourceName(row["source"]), **values)

    def shown(self, now: datetime) -> tuple[str, datetime | None, str]:
        """Return what holds: closed, open, half_open, parked or paused, until when, and why."""
        if self.paused and not (self.paused_until and self.paused_until <= now):
            return "paused", self.paused_until, self.paused_reason
        if self.parked_until and self.parked_until > now:
            return "parked", self.parked_until, self.parked_reason
        until = self.open_until if self.state == "open" else None
        return self.state, until, self.reason


class Breakers:
    """The state of every source, as this replica knows it."""

    def __init__(
        self, pool: Pool, relay: Relay, *, fail_max: int, reset_seconds: float, clock: Clock
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._fail_max = fail_max
        self._reset = timedelta(seconds=reset_seconds)
        self._clock = clock
        self._read_at = clock() - COPY_AGE
        self._readings = 0
        self._newest = 0
        self._states = {source: SourceState(source) for source in SourceName}

    async def _read(self, connection: Connection) -> None:
        """Renew this replica's copy, unless a reading that began later already has."""
        self._readings += 1
        number = self._readings
        rows = await store.read_sources(connection)
        if number > self._newest:
            self._newest = number
            self._take_in(rows)

    def _take_in(self, rows: Iterable[asyncpg.Record]) -> None:
        self._read_at = self._clock()
        for row in rows:
            source, state = SourceName(row["source"]), SourceState.of(row)
            if state.epoch != self._states[source].epoch:
                _log.warning("breaker", source=source.value, state=state.state)
            self._states[source] = state
            for name in STATES:
                shown = state.shown(self._read_at)[0]
                SOURCE_STATE.labels(source.value, name).set(shown == name)

    async def renew(self, connection: Connection) -> None:
        """Read the rows where the copy is a second old."""
        if self._clock() - self._read_at >= COPY_AGE:
            await self._read(connection)

    async def refresh(self) -> None:
        """Read the rows."""
        async with self._pool.acquire() as connection:
            await self._read(connection)

    def state(self, source: SourceName) -> SourceState:
        """Return a source's state as this replica knows it."""
        return self._states[source]

    def denial(self, source: SourceName) -> Denial | None:
        """Say why and until when the source is left alone; None where it may be asked."""
        now = self._clock()
        shown, until, reason = self._states[source].shown(now)
        if shown == "paused":
            return Denial(
                StepStatus.PARKED, f"the source is paused: {reason}", until or now + PAUSE_LOOK
            )
        if shown == "parked":
            return Denial(StepStatus.PARKED, reason, until)
        if shown == "open" and until and until > now:
            return Denial(StepStatus.CIRCUIT_OPEN, reason, until)
        return None

    def failures(self, source: SourceName) -> int:
        """Return how many failures in a row all replicas have seen, as this one knows."""
        return self._states[source].failures

    def is_closed(self, source: SourceName) -> bool:
        """Whether a call needs no admission."""
        return self._states[source].state == "closed"

    async def admit(self, source: SourceName) -> int | Denial:
        """Admit a call, as a probe where the source is being tried; return the epoch it counts in.

        What becomes of the call is to be reported, else its place is held for PROBE_SECONDS.
        """
        state = self._states[source]
        if state.state == "closed":
            return state.epoch
        place = (source, state.epoch, timedelta(seconds=PROBE_SECONDS))
        async with self._pool.acquire() as connection:
            epoch = await store.admit_probe(connection, *place)
            if epoch is None:
                epoch = await store.begin_probing(connection, *place)
            await self._read(connection)
        if epoch is not None:
            return epoch
        if self._states[source].state == "closed":
            return self._states[source].epoch
        reason = "the source has been failing and is being tried"
        return self.denial(source) or Denial(
            StepStatus.CIRCUIT_OPEN, reason, self._clock() + LOOK_AGAIN
        )

    async def report(
        self, source: SourceName, epoch: int, outcome: Answer | SourceError | None
    ) -> None:
        """Take in what became of a call that was admitted when the source was at `epoch`.

        None where it never left, or was broken off.
        """
        error = outcome if isinstance(outcome, SourceError) else None
        if error and error.error_class is ErrorClass.THROTTLED and error.retry_after:
            await self._park(source, error)
        state, verdict = self._states[source], _verdict(outcome)
        if state.epoch != epoch or state.state == "open":
            return
        if state.state == "half_open":
            await self._judge_probe(state, verdict)
        elif isinstance(verdict, SourceError):
            await self._count(state, verdict)
        elif verdict and state.failures:
            await self._forget_failures(state)

    async def _count(self, state: SourceState, error: SourceError) -> None:
        async with self._pool.acquire() as connection:
            failures = await store.add_failure(connection, state.source, state.epoch)
        if failures is None:  # another replica has changed the breaker
            return
        self._learn_failures(state, failures)
        if self._trips(failures, error):
            await self._open(state, error)

    async def _forget_failures(self, state: SourceState) -> None:
        # Only where this replica knows of failures: a good answer costs no write. It knows of its
        # own at once and of the others' within a second; until then a success here may leave them
        # standing, so that the breaker rather opens early than late.
        async with self._pool.acquire() as connection:
            await store.forget_failures(connection, state.source, state.epoch)
        self._learn_failures(state, 0)

    def _learn_failures(self, state: SourceState, failures: int) -> None:
        known = self._states[state.source]
        if known.epoch == state.epoch:
            self._states[state.source] = replace(known, failures=failures)

    def _trips(self, failures: int, error: SourceError) -> bool:
        judge = pybreaker.CircuitBreaker(self._fail_max, state_storage=_Counted(failures))
        with contextlib.suppress(SourceError, pybreaker.CircuitBreakerError):
            judge.call(_fail, error)
        return bool(judge.current_state == pybreaker.STATE_OPEN)

    async def _judge_probe(self, state: SourceState, verdict: Answer | SourceError | None) -> None:
        if isinstance(verdict, SourceError):
            await self._open(state, verdict)
            return
        async with self._pool.acquire() as connection:
            if verdict is None:
                await store.give_back(connection, state.source, state.epoch)
                return
            quota = await store.pass_probe(connection, state.source, state.epoch)
        if quota and quota > LARGEST_WAVE:
            await self._change(state, "closed", "", None, 0)

    async def _open(self, state: SourceState, error: SourceError) -> None:
        reset = min(self._reset * 2 ** min(state.openings, 10), max(LONGEST_RESET, self._reset))
        reason = f"the source has been failing: {error}"
        await self._change(state, "open", reason, self._clock() + reset, state.openings + 1)

    async def _change(
        self, state: SourceState, to: str, reason: str, until: datetime | None, openings: int
    ) -> None:
        async with tenant_transaction(self._pool, DEPLOYMENT) as connection:
            changed = await store.change_source(
                connection, state.source, state.epoch, to, reason, until, openings
            )
            if changed:
                await self._tell(connection, state.source, to, reason, until)
        await self._learn_change()

    async def _park(self, source: SourceName, error: SourceError) -> None:
        until = self._clock() + timedelta(seconds=error.retry_after or 0)
        reason = f"the source asked to be left alone: {error.message}"
        async with tenant_transaction(self._pool, DEPLOYMENT) as connection:
            if await store.park_source(connection, source, until, reason):
                await self._tell(connection, source, "parked", reason, until)
        await self._learn_change()

    async def pause(
        self, source: SourceName, *, paused: bool, until: datetime | None, reason: str
    ) -> None:
        """Pause a source for every replica, or let it be asked again and close its breaker."""
        async with tenant_transaction(self._pool, DEPLOYMENT) as connection:
            await store.pause_source(connection, source, paused, until, reason)
            await self._tell(connection, source, "paused" if paused else "closed", reason, until)
        await self._learn_change()

    async def _learn_change(self) -> None:
        """Have a committed change told of, and know it here: only now do all readings show it."""
        self._relay.wake()
        await self.refresh()

    async def _tell(
        self,
        connection: Connection,
        source: SourceName,
        state: str,
        reason: str,
        until: datetime | None,
    ) -> None:
        event = announcements.source_changed(source, state, reason, until, self._clock())
        await outbox.enqueue(connection, DEPLOYMENT, [event])


class _Counted(pybreaker.CircuitMemoryStorage):
    """Has pybreaker see the failures that the row has counted, the last one with them."""

    def __init__(self, failures: int) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self._failures = failures

    @property
    def counter(self) -> int:
        return self._failures


def _verdict(outcome: Answer | SourceError | None) -> Answer | SourceError | None:
    """Return an outcome that says something of the source's health, else None."""
    if isinstance(outcome, SourceError):
        return outcome if outcome.of_source and outcome.error_class in FAULTS else None
    return outcome


def _fail(error: SourceError) -> None:
    raise error
