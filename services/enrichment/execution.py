"""One run in a worker's hand: asks run.py what to do, does it, writes down what happened.

Each change is one transaction: the lease is proven, the step written, and the event that tells of
it put in the outbox. A crash at any line leaves a run that the next worker takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog

from chassis import outbox, telemetry
from chassis.clock import Clock
from chassis.database import Connection, Pool, tenant_transaction
from chassis.outbox import Relay
from services.enrichment import messages, store
from services.enrichment.breakers import CircuitOpen, SourceBreaker
from services.enrichment.findings import Answer, ErrorClass, SourceError, SourceName
from services.enrichment.run import (
    Decision,
    Finish,
    Step,
    StepStatus,
    begin,
    decide,
    lose,
    park,
    settle,
)
from services.enrichment.store import ClaimedRun

Ask = Callable[[ClaimedRun], Awaitable[Answer]]
Outcome = Answer | SourceError | CircuitOpen
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tools:
    """What every run of a worker needs."""

    pool: Pool
    relay: Relay
    clock: Clock
    sources: Mapping[SourceName, Ask]
    breakers: Mapping[SourceName, SourceBreaker]
    ask_paid_again: bool
    call_seconds: float


class Execution:
    """Drives one claimed run until it ends, is parked, or is handed back."""

    def __init__(self, run: ClaimedRun, tools: Tools, stopping: asyncio.Event) -> None:
        self._run = run
        self._tools = tools
        self._stopping = stopping
        self._calls: dict[asyncio.Task[Outcome], SourceName] = {}

    async def drive(self) -> None:
        """Work on the run; raise LeaseLost where another worker has it."""
        telemetry.start_trace(self._run.traceparent)
        try:
            await self._settle_lost_calls()
            while not await self._advance():
                pass
        except asyncio.CancelledError:
            # The grace period is over: the next worker need not wait for the lease to run out.
            await self._hand_back(self._tools.clock())
            raise
        finally:
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)

    async def _advance(self) -> bool:
        """Take one turn; True means that this worker is done with the run."""
        now = self._tools.clock()
        decision = decide(self._run.steps, self._run.deadline_at, now)
        if decision.finish:
            await self._finish(decision.finish, now)
            return True
        for step in decision.close:
            await self._close(step)
        if not self._stopping.is_set():
            for source in decision.call:
                await self._start_call(source)
        if self._calls:
            await self._wait_for_calls(decision, now)
            return False
        # Steps that were closed or parked just now call for a new decision.
        if decision.close or (decision.call and not self._stopping.is_set()):
            return False
        return await self._pause(decision, now)

    async def _settle_lost_calls(self) -> None:
        """What an earlier worker began and never settled has lost its reply."""
        now = self._tools.clock()
        for step in list(self._run.steps.values()):
            if step.status is StepStatus.IN_PROGRESS:
                lost = lose(step, ask_paid_again=self._tools.ask_paid_again, now=now)
                async with self._change(lost) as connection:
                    await store.settle_attempt(connection, self._run, step, None, now)

    async def _start_call(self, source: SourceName) -> None:
        breaker = self._tools.breakers[source]
        until = breaker.open_until()
        if until:
            parked = park(self._run.steps[source], until, "the source has been failing")
            async with self._change(parked):
                return
        now = self._tools.clock()
        step = begin(self._run.steps[source], now)
        async with self._change(step) as connection:
            await store.begin_attempt(connection, self._run, step, now)
        self._calls[asyncio.create_task(self._call(source))] = source

    async def _call(self, source: SourceName) -> Outcome:
        ask = self._tools.sources[source]
        try:
            async with asyncio.timeout(self._tools.call_seconds):
                return await self._tools.breakers[source].call(lambda: ask(self._run))
        except (SourceError, CircuitOpen) as error:
            return error
        except TimeoutError:
            return SourceError(ErrorClass.TRANSIENT, "the source took too long")
        except Exception:
            _log.exception("bug in a source", source=source.value)
            return SourceError(ErrorClass.INVALID_ANSWER, "the answer could not be handled")

    async def _wait_for_calls(self, decision: Decision, now: datetime) -> None:
        look_again = decision.look_again_at or self._run.deadline_at
        # The lease is renewed with every change; a slow source must not let it run out.
        patience = min((look_again - now).total_seconds(), self._run.lease.seconds / 3)
        done, _ = await asyncio.wait(
            self._calls, timeout=max(patience, 0.01), return_when=asyncio.FIRST_COMPLETED
        )
        for call in done:
            await self._settle(self._calls.pop(call), call.result())
        if not done:
            async with tenant_transaction(self._tools.pool, self._run.lease.tenant_id) as held:
                await store.hold(held, self._run.lease)

    async def _settle(self, source: SourceName, outcome: Outcome) -> None:
        now = self._tools.clock()
        step = self._run.steps[source]
        if isinstance(outcome, CircuitOpen):
            # Another run's failure opened the breaker between our look and our call: nothing left.
            outcome = SourceError(ErrorClass.TRANSIENT, str(outcome))
        settled = settle(step, outcome, self._run.deadline_at, now, random.random())  # noqa: S311 -- jitter
        finding = outcome.finding if isinstance(outcome, Answer) else None
        async with self._change(settled) as connection:
            await store.settle_attempt(connection, self._run, step, outcome, now)
            await store.save_finding(connection, self._run, settled, finding)
        if finding:
            self._run.findings[source] = finding

    async def _close(self, step: Step) -> None:
        """End a step without an answer; a call of it that is still out is given up."""
        before = self._run.steps[step.source]
        for call in [call for call, source in self._calls.items() if source is step.source]:
            del self._calls[call]
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        async with self._change(step) as connection:
            if before.status is StepStatus.IN_PROGRESS:
                now = self._tools.clock()
                await store.settle_attempt(connection, self._run, before, None, now)

    async def _finish(self, finish: Finish, now: datetime) -> None:
        run = self._run
        event = messages.run_ended(run, finish, now)
        async with tenant_transaction(self._tools.pool, run.lease.tenant_id) as connection:
            await store.hold(connection, run.lease)
            await store.end(connection, run, finish, now)
            await outbox.enqueue(connection, run.lease.tenant_id, [event])
        self._tools.relay.wake()

    async def _pause(self, decision: Decision, now: datetime) -> bool:
        """Wait in hand where it is short; else let go of the run, as at a stop. True: let go."""
        wake_at = decision.look_again_at or now
        seconds = (wake_at - now).total_seconds()
        if not self._stopping.is_set() and seconds <= self._run.lease.seconds / 3:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), max(seconds, 0))
            return False
        await self._hand_back(now if self._stopping.is_set() else wake_at)
        return True

    async def _hand_back(self, wake_at: datetime) -> None:
        async with tenant_transaction(self._tools.pool, self._run.lease.tenant_id) as connection:
            await store.release(connection, self._run.lease, wake_at)

    @asynccontextmanager
    async def _change(self, step: Step) -> AsyncIterator[Connection]:
        """Write a step's change and the event that tells of it in one transaction."""
        run = self._run
        tenant_id = run.lease.tenant_id
        event = messages.progressed(tenant_id, run.lease.run_id, run.prospect_id, step)
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            await store.hold(connection, run.lease)
            yield connection
            await store.save_step(connection, run, step)
            await outbox.enqueue(connection, tenant_id, [event])
        run.steps[step.source] = step
        self._tools.relay.wake()
