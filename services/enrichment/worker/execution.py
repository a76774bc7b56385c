"""Drives one leased run: takes its turns, and makes the calls that each turn begins.

Nothing is decided here: turn.py decides, the writer commits. A crash at any line leaves a run that
the next worker takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog

from chassis import telemetry
from chassis.clock import Clock
from chassis.database import Pool, tenant_transaction
from chassis.transient import TRANSIENT
from services.enrichment.availability import call_timeout
from services.enrichment.gauges import CALL_SECONDS, CALLS, SPENT
from services.enrichment.policy.policy import Policy
from services.enrichment.run.state import (
    CLAUDE,
    Again,
    Begun,
    Denial,
    Happening,
    Lost,
    Parked,
    Returned,
    StepStatus,
    Turn,
)
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sql import ANONYMOUS
from services.enrichment.worker import store
from services.enrichment.worker.run_rules import RuleInputs
from services.enrichment.worker.store import LeasedRun, LeaseLost
from services.enrichment.worker.turn_writer import Writer

Ask = Callable[[SourceCall], Awaitable[Answer]]
RETRY_PAUSE = timedelta(seconds=0.5)
RETRY_TURN_FOR = timedelta(seconds=30)
"""How long a worker tries to write a turn, while no other worker has taken its lease."""
KEEP_SECONDS = 1.0
"""A run whose next turn is due sooner than this keeps its lease."""
_log = structlog.get_logger()


class Execution:
    """Drives one leased run until it ends, waits, or is handed back."""

    def __init__(
        self,
        run: LeasedRun,
        stopping: asyncio.Event,
        *,
        pool: Pool,
        clock: Clock,
        inputs: RuleInputs,
        writer: Writer,
        sources: Mapping[SourceName, Ask],
        call_seconds: float,
    ) -> None:
        self._run = run
        self._stopping = stopping
        self._pool = pool
        self._clock = clock
        self._inputs = inputs
        self._writer = writer
        self._sources = sources
        self._call_seconds = call_seconds
        self._news = asyncio.Event()
        self._happened: list[Happening] = []
        self._admitted: dict[SourceName, float] = {}
        self._epochs: dict[SourceName, int] = {}  # the breakers' when calls were admitted
        self._calls: dict[SourceName, asyncio.Task[None]] = {}
        self._admissions: dict[SourceName, asyncio.Task[None]] = {}

    def cancel_run(self) -> None:
        """Take a turn now: the run is to be cancelled."""
        if not self._run.state.cancel_requested:
            self._run.state = replace(self._run.state, cancel_requested=True)
            self._news.set()

    def ask_again(self, source: SourceName) -> None:
        """Take a turn now: somebody wants a source that waits to be asked."""
        self._happened.append(Again(source))
        self._news.set()

    def forget_user(self, user_id: UUID) -> None:
        """Name an erased user in no later event."""
        if self._run.user_id == user_id:
            self._run.user_id = ANONYMOUS

    def look(self) -> None:
        """Take a turn now: the process is stopping."""
        self._news.set()

    async def drive(self, first: Turn | None = None) -> None:
        """Work on the run; raise LeaseLost where another worker has it.

        `first` is the turn that was taken as the run was made; else calls that are out are lost.
        """
        telemetry.start_trace(self._run.traceparent)
        if not first:
            steps = self._run.state.steps.values()
            self._happened = [Lost(s.source) for s in steps if s.status is StepStatus.IN_PROGRESS]
        try:
            turn = first or await self._take_turn()
            while await self._follow(turn):
                turn = await self._take_turn()
        except asyncio.CancelledError:
            # The grace period is over: the next worker need not wait for the lease to run out.
            await self._hand_back(self._clock())
            raise
        finally:
            await _cancel([*self._calls.values(), *self._admissions.values()])
            await self._give_back(list(self._epochs))

    async def _take_turn(self) -> Turn:
        """Take a turn; retry while Postgres is unreachable, since answers may be paid for."""
        happened, self._happened = self._happened, []
        admitted, self._admitted = self._admitted, {}  # one that this turn does not use is dropped
        self._news.clear()
        give_up_at, again = self._clock() + RETRY_TURN_FOR, False
        while True:
            try:
                return await self._writer.take_turn(self._run, happened, admitted)
            except TRANSIENT as error:
                if self._stopping.is_set() or self._clock() > give_up_at:
                    raise
                _log.warning("turn waits", run=str(self._run.lease.run_id), error=repr(error))
                again = True
            except asyncpg.IntegrityConstraintViolationError:
                if not again:
                    raise
                # It was committed, only the acknowledgement was lost: the run is read anew.
                await self._hand_back(self._clock())
                raise LeaseLost from None
            await asyncio.sleep(RETRY_PAUSE.total_seconds())

    async def _follow(self, turn: Turn) -> bool:
        """Begin a turn's calls and wait for the next turn; False where the run is given up."""
        for begun in turn.begun:
            self._start_call(begun)
        await _cancel(
            [self._calls.pop(source) for source in [*self._calls] if turn.steps[source].ended]
        )
        await self._give_back(self._epochs.keys() - self._calls.keys() - self._admitted.keys())
        if not turn.open:
            return False
        if self._stopping.is_set():
            await _cancel(self._admissions.values())
            turn = replace(turn, wanted=[])
        for source in turn.wanted:
            if source not in self._admissions and source not in self._admitted:
                self._admissions[source] = asyncio.create_task(self._admit(source))
        return await self._wait(turn)

    async def _wait(self, turn: Turn) -> bool:
        now = self._clock()
        wake_at = turn.look_again_at or self._run.state.late_until
        seconds = (wake_at - now).total_seconds()
        busy = self._calls or self._admissions or self._admitted or self._happened
        if not busy and (seconds > KEEP_SECONDS or self._stopping.is_set()):
            await self._hand_back(now if self._stopping.is_set() else wake_at)
            return False
        alarm = None
        if turn.look_again_at or seconds > 0:  # else only a call that is out brings anything new
            alarm = asyncio.get_running_loop().call_later(max(seconds, 0.001), self._news.set)
        await self._news.wait()
        if alarm:
            alarm.cancel()
        return True

    def _start_call(self, begun: Begun) -> None:
        if begun.source is CLAUDE:
            self._run.memo = self._inputs.memo_key(self._run.evidence({}))
        epoch = self._inputs.breakers.state(begun.source).epoch
        self._epochs.setdefault(begun.source, epoch)  # where it needed no admission
        self._calls[begun.source] = asyncio.create_task(self._call(begun))

    async def _call(self, begun: Begun) -> None:
        source = begun.source
        with CALL_SECONDS.labels(source.value).time():
            outcome = await self._outcome(begun)
        CALLS.labels(source.value, _name_of(outcome)).inc()
        SPENT.labels(source.value).inc(outcome.cost_micros)
        self._happened.append(Returned(source, outcome))
        del self._calls[source]
        self._news.set()
        await self._report(source, outcome)

    async def _give_back(self, sources: Iterable[SourceName]) -> None:
        """Return the admissions of calls that never left or were broken off."""
        for source in sources:
            await self._report(source, None)

    async def _report(self, source: SourceName, outcome: Answer | SourceError | None) -> None:
        try:
            await self._inputs.breakers.report(source, self._epochs.pop(source), outcome)
        except TRANSIENT as error:
            _log.warning("breaker not told", source=source.value, error=repr(error))
        except Exception:
            _log.exception("telling the breaker failed", source=source.value)

    async def _outcome(self, begun: Begun) -> Answer | SourceError:
        allowance = self._run.allowance_row
        policy = allowance.policy if allowance else Policy()
        days = policy.source(begun.source).look_back_days
        failures = self._run.state.steps[begun.source].failures
        evidence = self._run.evidence({})
        call = SourceCall(self._run.person, evidence, begun.lookup, days, failures)
        run_seconds = (self._run.state.late_until - self._clock()).total_seconds()
        try:
            async with call_timeout.limited(self._call_seconds, longest_wait=run_seconds):
                return await self._sources[begun.source](call)
        except SourceError as error:
            return error
        except call_timeout.NoRoom:
            reason = "our own rate left the call no room before the run's time was over"
            return SourceError(ErrorClass.TRANSIENT, reason, uncertain=True, of_source=False)
        except TimeoutError:
            return SourceError(ErrorClass.TRANSIENT, "the source took too long", uncertain=True)
        except TRANSIENT as error:  # Postgres, which was asked for a slot between two requests
            reason = _no_room(error)
            return SourceError(ErrorClass.TRANSIENT, reason, uncertain=True, of_source=False)
        except Exception:
            _log.exception("bug in a source", source=begun.source.value)
            reason = "the answer could not be handled"
            return SourceError(ErrorClass.INVALID_ANSWER, reason, uncertain=True)

    async def _admit(self, source: SourceName) -> None:
        """Wait for the source's rate limit, and for its breaker to admit a call."""
        inputs = self._inputs
        try:
            waited = 0.0 if inputs.limits.is_free(source) else await inputs.limits.wait(source)
            admission = inputs.breakers.denial(source) or await inputs.breakers.admit(source)
            if isinstance(admission, Denial):
                self._happened.append(Parked(source, admission))
            else:
                self._epochs[source], self._admitted[source] = admission, waited
        except TRANSIENT as error:
            _log.warning("no admission", source=source.value, error=repr(error))
            self._happened.append(Parked(source, self._retry_soon(error)))
        except Exception as error:
            _log.exception("admission failed", source=source.value)
            self._happened.append(Parked(source, self._retry_soon(error)))
        finally:
            del self._admissions[source]
            self._news.set()

    def _retry_soon(self, error: BaseException) -> Denial:
        return Denial(StepStatus.PARKED, _no_room(error), self._clock() + RETRY_PAUSE)

    async def _hand_back(self, wake_at: datetime) -> None:
        lease = self._run.lease
        async with tenant_transaction(self._pool, lease.tenant_id) as connection:
            await store.release(connection, lease, wake_at)


def _name_of(outcome: Answer | SourceError) -> str:
    if isinstance(outcome, SourceError):
        return outcome.error_class.value
    return "complete" if outcome.finding else "not_found"


def _no_room(error: BaseException) -> str:
    return f"the service could not be asked for room: {type(error).__name__}"


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    pending = list(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
