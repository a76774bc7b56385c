"""Whether a source may be asked: its breaker, its Retry-After and its pause, one for all replicas.

The truth is a row a source in Postgres, written only when it changes and fenced by `epoch`; every
replica has a copy, read each second and at once when an event tells of a change. The row counts
the failures in a row, of all replicas, and pybreaker decides by it (docs/decisions/0011). The call
is awaited outside of pybreaker and only a verdict reported, so that an answer is a success, a fault
of the source a failure, and anything else (cancelled, throttled, our own bad request) neither; a
call that began before the last change no longer counts. When an open breaker is due, one probe for
all replicas goes through; when all of a wave have succeeded, the next may be twice as many: two,
four, eight, then it is closed. A wave waits for calls as long as it takes. A probe
without a verdict lets another one leave; after one whose process died, one probe begins anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pybreaker
import structlog

from chassis import outbox
from chassis.clock import Clock
from chassis.database import Connection, Pool, tenant_transaction
from chassis.outbox import Relay
from services.enrichment.availability import announcements, store
from services.enrichment.availability.store import SourceState
from services.enrichment.gauges import SOURCE_STATE
from services.enrichment.run.state import Denial, StepStatus
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SourceName

LASTING = frozenset({ErrorClass.QUOTA, ErrorClass.CONFIGURATION})
"""What waiting does not mend: one such answer opens the breaker."""
FAULTS = LASTING | {ErrorClass.TRANSIENT, ErrorClass.INVALID_ANSWER, ErrorClass.AUTH}
NEEDS_OPERATOR = "the source needs an operator: "
"""How the reason begins by which replicas know that a source's fault lasts."""
DEPLOYMENT = UUID(int=0)
"""The tenant of events that belong to none."""
STATES = ("closed", "open", "half_open", "parked", "paused")
MAX_WAVE = 8
SUCCESSES = 2 * MAX_WAVE - 1
"""How many probes close an opened breaker: waves of 1, 2, 4 and 8."""
MAX_RESET = timedelta(minutes=10)
PROBE_SECONDS = 60.0
"""How long after a wave's last probe was admitted a probe without an outcome counts as lost."""
LOOK_AGAIN = timedelta(seconds=1)
COPY_AGE = timedelta(seconds=1)
PAUSE_LOOK = timedelta(seconds=5)
_log = structlog.get_logger()


class RowStorage(pybreaker.CircuitBreakerStorage):
    """A source's breaker as pybreaker reads and changes it.

    It reads this replica's copy of the row, in which failures and successes are counted before
    pybreaker is asked. What it decides is `decided` until that is written.
    """

    def __init__(self, source: SourceName) -> None:
        super().__init__(source.value)
        self.row = SourceState(source)
        self.decided = ""

    def take_in(self, row: SourceState) -> None:
        """Go on from what the row says."""
        self.row, self.decided = row, ""

    @property
    def state(self) -> str:
        """The row's state, or the one that is about to be written."""
        return self.decided or self.row.state.replace("half_open", pybreaker.STATE_HALF_OPEN)

    @state.setter
    def state(self, state: str) -> None:
        self.decided = state

    @property
    def counter(self) -> int:
        """How many failures all replicas have seen in a row."""
        return self.row.failures

    @property
    def success_counter(self) -> int:
        """How many probes of all replicas have succeeded since the breaker was opened."""
        return self.row.successes

    @property
    def opened_at(self) -> None:
        """Nothing: when an open breaker is due, the row says by the database's clock."""

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        pass


class Breakers:
    """The state of every source, as this replica knows it."""

    def __init__(
        self,
        pool: Pool,
        relay: Relay,
        *,
        fail_max: int,
        reset_seconds: float,
        max_park_seconds: float,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._reset = timedelta(seconds=reset_seconds)
        self._max_park_seconds = max_park_seconds
        self._clock = clock
        self._read_at = clock() - COPY_AGE
        self._readings = 0
        self._newest = 0
        self._storages = {source: RowStorage(source) for source in SourceName}
        self._breakers = {
            source: pybreaker.CircuitBreaker(
                fail_max=fail_max,
                success_threshold=SUCCESSES,
                state_storage=storage,
                throw_new_error_on_trip=False,
            )
            for source, storage in self._storages.items()
        }

    async def _read(self, connection: Connection) -> None:
        """Read the rows into this replica's copy, unless a reading that began later has."""
        self._readings += 1
        number = self._readings
        rows = await store.read_sources(connection)
        if number > self._newest:
            self._newest = number
            self._take_in(rows)

    def _take_in(self, rows: Iterable[SourceState]) -> None:
        self._read_at = self._clock()
        for row in rows:
            if row.epoch != self.state(row.source).epoch:
                _log.warning("breaker", source=row.source.value, state=row.state)
            self._storages[row.source].take_in(row)
            shown, *_ = row.shown(self._read_at)
            for name in STATES:
                SOURCE_STATE.labels(row.source.value, name).set(shown == name)

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
        return self._storages[source].row

    def denial(self, source: SourceName) -> Denial | None:
        """Return why and until when the source is not asked; None where it may be asked."""
        now = self._clock()
        shown, until, reason = self.state(source).shown(now)
        if shown == "paused":
            return Denial(
                StepStatus.PARKED, f"the source is paused: {reason}", until or now + PAUSE_LOOK
            )
        if shown == "parked":
            return Denial(StepStatus.PARKED, reason, until)
        if shown == "open" and until and until > now:
            lasts = reason.startswith(NEEDS_OPERATOR)
            return Denial(StepStatus.CIRCUIT_OPEN, reason, until, is_lasting=lasts)
        return None

    def failures(self, source: SourceName) -> int:
        """Return how many failures in a row all replicas have seen, as this one knows."""
        return self.state(source).failures

    def is_closed(self, source: SourceName) -> bool:
        """Whether a call needs no admission."""
        return self.state(source).state == "closed"

    async def admit(self, source: SourceName) -> int | Denial:
        """Admit a call, as a probe where the source is being tried; return the epoch it counts in.

        Report the call's outcome; another probe may leave in its stead after PROBE_SECONDS.
        """
        state = self.state(source)
        if state.state == "closed":
            return state.epoch
        values = (source, state.epoch, timedelta(seconds=PROBE_SECONDS))
        async with self._pool.acquire() as connection:
            epoch = await store.admit_probe(connection, *values)
            if epoch is None:
                epoch = await store.begin_probing(connection, *values)
            await self._read(connection)
        if epoch is not None:
            return epoch
        if self.state(source).state == "closed":
            return self.state(source).epoch
        reason = "the source has been failing and is being tried"
        lasts = self.state(source).reason.startswith(NEEDS_OPERATOR)
        return self.denial(source) or Denial(
            StepStatus.CIRCUIT_OPEN, reason, self._clock() + LOOK_AGAIN, is_lasting=lasts
        )

    async def report(
        self, source: SourceName, epoch: int, outcome: Answer | SourceError | None
    ) -> None:
        """Judge the source by the outcome of a call that was admitted at `epoch`.

        None where the call never left, or was cancelled.
        """
        error = outcome if isinstance(outcome, SourceError) else None
        if error and error.error_class is ErrorClass.THROTTLED and error.retry_after:
            await self._park(source, error)
        row, verdict = self.state(source), _verdict(outcome)
        if row.epoch != epoch or row.state not in ("closed", "half_open"):
            return
        if verdict is None:
            await self._give_back(row)
        elif isinstance(verdict, SourceError) and verdict.error_class in LASTING:
            await self._open(row, f"{NEEDS_OPERATOR}{verdict.message}")
        elif await self._count(row, verdict):
            await self._judge(row, verdict)

    async def _give_back(self, row: SourceState) -> None:
        """Let another probe leave for one that says nothing."""
        if row.state != "half_open":
            return
        async with self._pool.acquire() as connection:
            await store.give_back(connection, row.source, row.epoch)

    async def _count(self, row: SourceState, verdict: Answer | SourceError) -> bool:
        """Count a verdict in the row; return whether there is something to judge now.

        A good answer costs no write, unless this replica knows of failures. It knows of its own at
        once and of the others' within a second; until then a success here may leave them standing,
        so that the breaker rather opens early than late.
        """
        is_failure, is_probe = isinstance(verdict, SourceError), row.state == "half_open"
        if is_failure and is_probe:  # one is enough
            return True
        if not (is_failure or is_probe or row.failures):
            return False
        storage, failures, successes = self._storages[row.source], row.failures, row.successes
        counted: int | None = 0
        async with self._pool.acquire() as connection:
            if is_probe:
                counted = await store.pass_probe(connection, row.source, row.epoch)
                successes = counted or 0
            elif is_failure:
                counted = await store.add_failure(connection, row.source, row.epoch)
                failures = counted or 0
            else:
                await store.forget_failures(connection, row.source, row.epoch)
                failures = 0
        if counted is None or storage.row.epoch != row.epoch:  # the breaker has changed since
            return False
        storage.row = replace(storage.row, failures=failures, successes=successes)
        return True

    async def _judge(self, row: SourceState, verdict: Answer | SourceError) -> None:
        """Let pybreaker decide by what is counted, and write down what it decides."""
        storage = self._storages[row.source]
        if storage.decided:  # another call's verdict is being written
            return
        with contextlib.suppress(SourceError):
            self._breakers[row.source].call(_end_as, verdict)
        try:
            if storage.decided == pybreaker.STATE_CLOSED:
                await self._change(row, "closed", "", None, 0)
            elif storage.decided == pybreaker.STATE_OPEN:
                await self._open(row, f"the source has been failing: {verdict}")
        finally:
            storage.decided = ""

    async def _open(self, row: SourceState, reason: str) -> None:
        reset = min(self._reset * 2 ** min(row.openings, 10), max(MAX_RESET, self._reset))
        await self._change(row, "open", reason, self._clock() + reset, row.openings + 1)

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
        # A mistake of the source must not leave all tenants without it for long.
        seconds = min(error.retry_after or 0, self._max_park_seconds)
        until = self._clock() + timedelta(seconds=seconds)
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
        """Publish a committed change, and read it: from now on every reading shows it."""
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


def _verdict(outcome: Answer | SourceError | None) -> Answer | SourceError | None:
    """Return an outcome that says something of the source's health, else None."""
    if isinstance(outcome, SourceError):
        return outcome if outcome.of_source and outcome.error_class in FAULTS else None
    return outcome


def _end_as(verdict: Answer | SourceError) -> None:
    """End as the call has ended that the verdict is of."""
    if isinstance(verdict, SourceError):
        raise verdict
