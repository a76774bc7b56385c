"""The run as a state machine: pure, without I/O, clock or randomness.

A run has a step a source. The first three research side by side; when all three have ended, Claude
summarises what they found; when all four have ended, the run ends:

    pending ──begin──▶ in_progress ──settle──▶ complete | not_found | failed
       ▲  ▲                 │ retryable error, lost reply of a free call
       │  └─────────────────┘
    circuit_open            pending, circuit_open ──deadline──▶ failed
                            pending ──nothing to do──▶ skipped

The worker asks `decide` what to do, does it, and puts what happened back through `begin`, `settle`,
`park` or `lose`. Steps are known by name, never by position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from services.enrichment.findings import Answer, ErrorClass, SourceError, SourceName, Subject

RESEARCH = (SourceName.CONTACTOUT, SourceName.EXA, SourceName.SEC)
# A lost reply of one of these may have been paid for: asking again could pay twice.
PAID = frozenset({SourceName.CONTACTOUT, SourceName.EXA, SourceName.CLAUDE})

MOST_ATTEMPTS: Mapping[ErrorClass, int] = {
    ErrorClass.TRANSIENT: 4,
    ErrorClass.THROTTLED: 6,
    ErrorClass.INVALID_ANSWER: 2,
    ErrorClass.AUTH: 1,
    ErrorClass.QUOTA: 1,
    ErrorClass.REFUSED_REQUEST: 1,
}
BACKOFF_SECONDS = 0.5
MOST_BACKOFF_SECONDS = 30.0


class StepStatus(StrEnum):
    """How far a step has come."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETE = "complete"
    FAILED = "failed"
    SKIPPED = "skipped"
    CIRCUIT_OPEN = "circuit_open"
    NOT_FOUND = "not_found"


class RunStatus(StrEnum):
    """How far a run has come."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETE = "complete"
    FAILED = "failed"


ENDED = frozenset(
    {StepStatus.COMPLETE, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.NOT_FOUND}
)


@dataclass(frozen=True, slots=True)
class Step:
    """One source's part in a run."""

    source: SourceName
    status: StepStatus = StepStatus.PENDING
    reason: str = ""
    error_class: str = ""
    attempts: int = 0
    uncertain_attempts: int = 0
    cost_micros: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    next_attempt_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED


Steps = Mapping[SourceName, Step]


@dataclass(frozen=True, slots=True)
class Finish:
    """How a run ends, and which of the sources that were asked brought nothing."""

    status: RunStatus
    missing: tuple[SourceName, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now: steps to end without a call, sources to call, when to look again, the end."""

    close: tuple[Step, ...] = ()
    call: tuple[SourceName, ...] = ()
    look_again_at: datetime | None = None
    finish: Finish | None = None


def first_steps(subject: Subject, now: datetime) -> dict[SourceName, Step]:
    """Return the steps of a new run; the SEC knows nothing of a private company."""
    steps = {source: Step(source) for source in SourceName}
    if not subject.is_public_company:
        steps[SourceName.SEC] = _skip(steps[SourceName.SEC], "the company is not public", now)
    elif subject.company_cik is None:
        steps[SourceName.SEC] = _skip(steps[SourceName.SEC], "no company_cik was given", now)
    return steps


def decide(steps: Steps, deadline_at: datetime, now: datetime) -> Decision:
    """Return what to do now."""
    waiting = [step for step in steps.values() if not step.ended]
    if not waiting:
        return Decision(finish=_finish(steps))
    if now >= deadline_at:
        return Decision(close=tuple(_miss_deadline(step, now) for step in waiting))
    open_steps = [steps[source] for source in RESEARCH if not steps[source].ended]
    if not open_steps:
        if not _found(steps):
            reason = "there is nothing to summarise"
            return Decision(close=(_skip(steps[SourceName.CLAUDE], reason, now),))
        open_steps = [steps[SourceName.CLAUDE]]
    idle = [step for step in open_steps if step.status is not StepStatus.IN_PROGRESS]
    times = [step.next_attempt_at for step in idle if _waits(step, now) and step.next_attempt_at]
    return Decision(
        call=tuple(step.source for step in idle if not _waits(step, now)),
        look_again_at=min([*times, deadline_at]),
    )


def begin(step: Step, now: datetime) -> Step:
    """A call is about to leave."""
    return replace(
        step,
        status=StepStatus.IN_PROGRESS,
        attempts=step.attempts + 1,
        started_at=step.started_at or now,
        next_attempt_at=None,
        reason="",
    )


def settle(
    step: Step, outcome: Answer | SourceError, deadline_at: datetime, now: datetime, jitter: float
) -> Step:
    """A call came back; `jitter` in [0, 1) spreads the retries (full jitter)."""
    if isinstance(outcome, Answer):
        status = StepStatus.COMPLETE if outcome.finding else StepStatus.NOT_FOUND
        reason = "" if outcome.finding else "the source knows nothing of this person"
        cost = step.cost_micros + outcome.cost_micros
        return replace(
            step, status=status, reason=reason, error_class="", cost_micros=cost, ended_at=now
        )
    failed = replace(step, reason=outcome.message, error_class=outcome.error_class.value)
    # An attempt that was lost in a crash says nothing about the source.
    tried = step.attempts - step.uncertain_attempts
    if tried >= MOST_ATTEMPTS[outcome.error_class]:
        return _fail(failed, now)
    again_at = now + timedelta(seconds=_delay(outcome, tried, jitter))
    if again_at >= deadline_at:
        return _fail(failed, now)
    return replace(failed, status=StepStatus.PENDING, next_attempt_at=again_at)


def park(step: Step, until: datetime, reason: str) -> Step:
    """The source's breaker is open: wait without spending an attempt."""
    return replace(step, status=StepStatus.CIRCUIT_OPEN, next_attempt_at=until, reason=reason)


def lose(step: Step, *, ask_paid_again: bool, now: datetime) -> Step:
    """The reply of a call was lost in a crash: it may have been answered, and paid for.

    A free source is asked again. A paid one only where the setting allows it, and never after a
    second loss.
    """
    lost = replace(step, uncertain_attempts=step.uncertain_attempts + 1, error_class="uncertain")
    paid = step.source in PAID
    if paid and (not ask_paid_again or lost.uncertain_attempts > 1):
        reason = "the reply was lost in a crash; not asked again, so as not to pay twice"
        return _fail(replace(lost, reason=reason), now)
    reason = "the reply was lost in a crash; asked again"
    return replace(lost, status=StepStatus.PENDING, next_attempt_at=None, reason=reason)


def _found(steps: Steps) -> bool:
    return any(steps[source].status is StepStatus.COMPLETE for source in RESEARCH)


def _finish(steps: Steps) -> Finish:
    brought_nothing = {StepStatus.FAILED, StepStatus.NOT_FOUND}
    missing = tuple(source for source in SourceName if steps[source].status in brought_nothing)
    return Finish(RunStatus.COMPLETE if _found(steps) else RunStatus.FAILED, missing)


def _waits(step: Step, now: datetime) -> bool:
    return step.next_attempt_at is not None and step.next_attempt_at > now


def _delay(error: SourceError, tried: int, jitter: float) -> float:
    if error.error_class is ErrorClass.THROTTLED and error.retry_after is not None:
        return error.retry_after
    return min(MOST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0**tried) * jitter


def _miss_deadline(step: Step, now: datetime) -> Step:
    late = "the run's deadline passed"
    reason = f"{late}; {step.reason}" if step.reason else late
    return _fail(replace(step, reason=reason, error_class=step.error_class or "deadline"), now)


def _skip(step: Step, reason: str, now: datetime) -> Step:
    return replace(step, status=StepStatus.SKIPPED, reason=reason, ended_at=now)


def _fail(step: Step, now: datetime) -> Step:
    return replace(step, status=StepStatus.FAILED, ended_at=now, next_attempt_at=None)
