"""A turn of a run: from what happened to what changes. Pure; state.py has the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from services.enrichment.run.retries import REPLACED, max_failures
from services.enrichment.run.state import (
    CLAUDE,
    RUN_ENDED,
    WAITING,
    Again,
    Begun,
    Denial,
    EndedAttempt,
    Finish,
    Happening,
    Lost,
    Parked,
    Returned,
    Rules,
    RunState,
    RunStatus,
    Step,
    StepStatus,
    Turn,
)
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import RESEARCH, SOURCES, SourceName
from services.enrichment.sources.findings import Finding

MAX_ELAPSED = timedelta(hours=1)
BACKOFF_SECONDS = 0.5
"""The longest pause after one failure; it doubles with each, and MAX_FAILURES bounds how often."""
MIN_PARK = timedelta(milliseconds=100)
CRASHED = SourceError(ErrorClass.TRANSIENT, "the reply was lost in a crash", uncertain=True)
BROKEN_OFF = SourceError(ErrorClass.TRANSIENT, "the call was broken off", uncertain=True)
CANCELLED = "the run was cancelled"
UNKNOWN = "the source knows nothing of this person"


def take_turn(
    state: RunState,
    happened: Sequence[Happening],
    rules: Rules,
    now: datetime,
    jitter: Callable[[], float],
) -> Turn:
    """Return what changes; `jitter` gives numbers in [0, 1) that spread retries (full jitter)."""
    return _Taker(state, rules, now, jitter).take(happened)


class _Taker:
    def __init__(
        self, state: RunState, rules: Rules, now: datetime, jitter: Callable[[], float]
    ) -> None:
        self._state = state
        self._rules = rules
        self._now = now
        self._jitter = jitter
        self._turn = Turn(dict(state.steps))
        self._ended = state.status in RUN_ENDED

    def take(self, happened: Sequence[Happening]) -> Turn:
        for each in happened:
            match each:
                case Returned(source, SourceError(uncertain=True) as error) if SOURCES[
                    source
                ].is_paid:
                    self._lose(self._turn.steps[source], error)
                case Returned(source, outcome):
                    self._return(self._turn.steps[source], outcome)
                case Lost(source):
                    self._lose(self._turn.steps[source], CRASHED)
                case Parked(source, denial):
                    self._deny(self._turn.steps[source], denial)
                case Again(source) if source in self._turn.steps:
                    self._hurry(self._turn.steps[source])
        self._break_off()
        self._go_on()
        return self._turn

    # -- what happened -------------------------------------------------------------------------

    def _return(self, step: Step, outcome: Answer | SourceError) -> None:
        if step.status is not StepStatus.IN_PROGRESS:
            return  # it was broken off as it came back
        self._turn.ended_attempts.append(_ended_attempt(step, outcome))
        self._rules.settle(step.source, outcome.cost_micros)
        step = replace(step, cost_micros=step.cost_micros + outcome.cost_micros)
        if isinstance(outcome, SourceError):
            self._fail(step, outcome)
        elif refusal := self._rules.refuses(outcome):
            self._end(step, refusal.status, refusal.reason)
        elif outcome.finding is None:
            self._find_nothing(step, outcome.note)
        else:
            self._complete(step, outcome.finding)

    def _complete(self, step: Step, finding: Finding, reason: str = "") -> None:
        self._turn.findings[step.source] = finding
        if self._ended:
            self._turn.amended.append(step.source)
        self._end(step, StepStatus.COMPLETE, reason)

    def _find_nothing(self, step: Step, note: str) -> None:
        if not self._ask_otherwise(step):
            self._turn.findings[step.source] = None
            self._end(step, StepStatus.NOT_FOUND, note or UNKNOWN)

    def _ask_otherwise(self, step: Step) -> bool:
        """Go on with the next way of asking; False where there is none."""
        lookups = self._state.lookups.get(step.source, ("",))
        later = lookups[lookups.index(step.lookup) + 1 :] if step.lookup in lookups else ()
        if not later:
            return False
        waits = replace(step, lookup=later[0], failures=0, ready_at=self._now, reason="")
        self._put(replace(waits, status=StepStatus.PENDING))
        return True

    def _fail(self, step: Step, error: SourceError) -> None:
        if error.error_class is ErrorClass.WRONG_PERSON and self._ask_otherwise(step):
            return
        failed = replace(
            step,
            failures=step.failures + 1,
            reason=error.message,
            error_class=error.error_class.value,
        )
        again_at = self._now + timedelta(seconds=self._delay(error, failed.failures))
        if failed.failures < max_failures(step.source, error) and self._in_time(failed, again_at):
            parked = error.error_class is ErrorClass.THROTTLED and error.retry_after is not None
            status = StepStatus.PARKED if parked else StepStatus.PENDING
            self._put(replace(failed, status=status, next_attempt_at=again_at, ready_at=again_at))
        else:
            self._give_up(failed, error, error.message)

    def _give_up(self, failed: Step, error: SourceError, reason: str) -> None:
        """End a failed step; a plain summary replaces one that the model cannot give."""
        is_replaced = failed.source is CLAUDE and error.error_class in REPLACED
        if not is_replaced or self._state.cancel_requested:
            self._end(failed, StepStatus.FAILED, reason)
        else:
            self._stand_in(failed, reason)

    def _stand_in(self, step: Step, reason: str) -> None:
        """Put a plain summary in the place of the model's."""
        summary = self._rules.fallback(self._turn.findings)
        if refusal := self._rules.refuses(Answer(summary)):
            self._end(step, refusal.status, refusal.reason)
        else:
            self._complete(step, summary, f"a plain summary stands in for the model's: {reason}")

    def _delay(self, error: SourceError, failures: int) -> float:
        if error.error_class is ErrorClass.THROTTLED and error.retry_after is not None:
            return error.retry_after
        return BACKOFF_SECONDS * 2.0**failures * self._jitter()

    def _in_time(self, step: Step, again_at: datetime) -> bool:
        started_at = step.started_at or self._now
        return again_at < self._state.late_until and again_at - started_at < MAX_ELAPSED

    def _lose(self, step: Step, error: SourceError) -> None:
        """Ask again after a lost reply (not an unreadable one): a paid source once, if allowed."""
        self._turn.ended_attempts.append(_uncertain(step, error))
        transient = error.error_class is ErrorClass.TRANSIENT
        lost = replace(
            step,
            uncertain_attempts=step.uncertain_attempts + 1,
            error_class="uncertain" if transient else error.error_class.value,
            cost_micros=step.cost_micros + SOURCES[step.source].max_cost_micros,
        )
        again = not SOURCES[step.source].is_paid or (
            transient and self._rules.ask_paid_again and lost.uncertain_attempts == 1
        )
        if again and self._now < self._state.late_until:
            reason = f"{error.message}; asked again"
            self._put(replace(lost, status=StepStatus.PENDING, reason=reason, ready_at=self._now))
        else:
            reason = f"{error.message}; not asked again, so as not to pay twice"
            self._give_up(lost, error, reason)

    def _break_off(self) -> None:
        """Break off a cancelled run's free calls: it waits only for those that are paid for."""
        if not self._state.cancel_requested or self._ended:
            return
        for step in list(self._turn.steps.values()):
            if step.status is StepStatus.IN_PROGRESS and not SOURCES[step.source].is_paid:
                self._turn.ended_attempts.append(_uncertain(step, BROKEN_OFF))
                lost = replace(step, uncertain_attempts=step.uncertain_attempts + 1)
                self._end(lost, StepStatus.SKIPPED, CANCELLED)

    def _hurry(self, step: Step) -> None:
        if step.status in WAITING and step.next_attempt_at:
            self._put(replace(step, status=StepStatus.PENDING, reason="", next_attempt_at=None))

    # -- what follows --------------------------------------------------------------------------

    def _go_on(self) -> None:
        self._close()
        called = True
        while called:  # a call that is denied or needless may open the way for the summary
            called = False
            for step in list(self._callable()):
                called |= not self._call(step)
            self._close()
        self._set_next_turn()

    def _close(self) -> None:
        """End the steps that will not be called any more, and then the run."""
        now, state = self._now, self._state
        for step in list(self._turn.steps.values()):
            if step.status not in WAITING:
                continue
            if state.cancel_requested:
                self._end(step, StepStatus.SKIPPED, CANCELLED)
            elif now >= state.late_until:
                self._miss(step)
        self._end_summary()
        self._make_anew()
        self._finish()

    def _end_summary(self) -> None:
        claude = self._turn.steps[CLAUDE]
        research_ended = all(step.ended for step in self._research())
        if claude.status in WAITING and research_ended and not self._found():
            self._end(claude, StepStatus.SKIPPED, "there is nothing to summarise")

    def _finish(self) -> None:
        if self._ended:
            return
        if self._turn.open and self._now < self._state.deadline_at:
            return
        brought, steps = {StepStatus.COMPLETE, StepStatus.SKIPPED}, self._turn.steps
        missing = tuple(s for s in SourceName if s in steps and steps[s].status not in brought)
        status = RunStatus.COMPLETE if self._found() else RunStatus.FAILED
        if self._state.cancel_requested:
            status = RunStatus.CANCELLED
        self._turn.finish = Finish(status, missing)
        self._ended = True

    def _make_anew(self) -> None:
        """Open the summary again when a source has answered since its call left."""
        claude, research = self._turn.steps[CLAUDE], self._research()
        made_at = claude.ready_at
        if claude.status not in (StepStatus.COMPLETE, StepStatus.FAILED) or made_at is None:
            return
        later = (step.ended_at and step.ended_at > made_at for step in _complete(research))
        if any(later) and not self._state.cancel_requested and self._now < self._state.late_until:
            again = replace(claude, status=StepStatus.PENDING, failures=0, ended_at=None)
            reason = "made anew: a source answered late"
            self._put(replace(again, reason=reason, error_class="", ready_at=self._now))

    def _callable(self) -> Iterator[Step]:
        steps = self._turn.steps  # of a cancelled run's none waits any more
        wanted = self._research()
        busy = any(step.status is StepStatus.IN_PROGRESS for step in wanted)
        joined = self._ended or self._now >= self._state.join_at
        # Once the run has ended nobody waits: a late answer that is on its way comes first.
        if all(step.ended for step in wanted) or (
            joined and self._found() and not (self._ended and busy)
        ):
            wanted.append(steps[CLAUDE])
        for step in wanted:
            due = step.next_attempt_at is None or step.next_attempt_at <= self._now
            if step.status in WAITING and due and step.source not in self._turn.wanted:
                yield step

    def _call(self, step: Step) -> bool:
        """Let a call leave, or wait for its admission; False where none is to leave."""
        known = self._rules.recall(step.source, self._turn.findings)
        if known:
            self._take_over(step, known)
            return False
        denial = self._rules.denial(step)
        if denial:
            self._deny(step, denial)
            return False
        limiter_wait = self._rules.admit(step.source)
        if limiter_wait is None:
            self._turn.wanted.append(step.source)
        else:
            self._begin(step, limiter_wait)
        return True

    def _take_over(self, step: Step, known: Answer) -> None:
        step = replace(step, reused=True, ready_at=self._now)
        if known.finding:
            self._complete(step, known.finding)
        else:
            self._end(step, StepStatus.NOT_FOUND, known.note or UNKNOWN)

    def _begin(self, step: Step, limiter_wait: float) -> None:
        now = self._now
        lookup = step.lookup or next(iter(self._state.lookups.get(step.source, ())), "")
        parked = 0.0
        if step.parked_at:
            parked = (min(now, step.next_attempt_at or now) - step.parked_at).total_seconds()
        waited = (now - min(step.parked_at or now, step.ready_at or now)).total_seconds()
        queue_wait = max(waited - parked - limiter_wait, 0.0)
        begun = replace(
            step,
            status=StepStatus.IN_PROGRESS,
            reused=False,
            attempts=step.attempts + 1,
            lookup=lookup,
            started_at=step.started_at or now,
            next_attempt_at=None,
            ready_at=now,
            parked_at=None,
            reason="",
        )
        self._put(begun)
        waits = (queue_wait, max(parked, 0.0), limiter_wait)
        permit = self._rules.reserve(step.source)
        self._turn.begun.append(Begun(step.source, begun.attempts, lookup, permit, *waits))

    def _deny(self, step: Step, denial: Denial) -> None:
        if denial.until is None:
            self._end(step, denial.status, denial.reason)
            return
        if denial.is_lasting and step.source is CLAUDE:
            self._stand_in(replace(step, ready_at=self._now), denial.reason)
            return
        self._put(
            replace(
                step,
                status=denial.status,
                reason=denial.reason,
                next_attempt_at=max(denial.until, self._now + MIN_PARK),
                parked_at=step.parked_at or self._now,
            )
        )

    def _miss(self, step: Step) -> None:
        late = "the run's deadline passed"
        reason = f"{late}; {step.reason}" if step.reason else late
        missed = replace(step, error_class=step.error_class or "deadline")
        self._end(missed, StepStatus.FAILED, reason)

    def _set_next_turn(self) -> None:
        """Set when the next turn is due: at the first moment to come that may change anything.

        A step that is due already and was not called waits for an admission, which wakes the run.
        """
        state, steps = self._state, self._turn.steps.values()
        times = [state.join_at, state.deadline_at, state.late_until]
        times += [s.next_attempt_at for s in steps if s.status in WAITING and s.next_attempt_at]
        coming = [time for time in times if time > self._now]
        self._turn.look_again_at = min(coming) if coming and self._turn.open else None

    def _found(self) -> bool:
        return any(_complete(self._research()))

    def _research(self) -> list[Step]:
        """Return the steps that bring evidence; an older version's run has none of a new source."""
        return [self._turn.steps[source] for source in RESEARCH if source in self._turn.steps]

    def _end(self, step: Step, status: StepStatus, reason: str) -> None:
        clear = "" if status in (StepStatus.COMPLETE, StepStatus.NOT_FOUND) else step.error_class
        self._put(
            replace(
                step,
                status=status,
                reason=reason,
                error_class=clear,
                ended_at=self._now,
                next_attempt_at=None,
                parked_at=None,
            )
        )

    def _put(self, step: Step) -> None:
        self._turn.steps[step.source] = step
        self._turn.changed.add(step.source)


def _complete(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.status is StepStatus.COMPLETE]


def _uncertain(step: Step, error: SourceError) -> EndedAttempt:
    return EndedAttempt(step.source, step.attempts, "uncertain", error)


def _ended_attempt(step: Step, outcome: Answer | SourceError) -> EndedAttempt:
    match outcome:
        case SourceError():
            status = "failed"
        case Answer(finding=None):
            status = "not_found"
        case _:
            status = "complete"
    return EndedAttempt(step.source, step.attempts, status, outcome)
