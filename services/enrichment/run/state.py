"""The run as a state machine: pure, without I/O, clock or randomness.

A run has a step a source. All but Claude research side by side; when all of these have ended, or at
`join_at`, Claude summarises what they found; when that has ended too, or at the deadline, the run
ends with what is there. A step that is still open then stays open until `late_until`: what it
brings amends the prospect, and the summary is made anew.

    pending ──call──▶ in_progress ──▶ complete | not_found | failed | suppressed
       ▲                   │ retryable error, next lookup, lost reply of a free call
       ├───────────────────┘
    parked | circuit_open     the source may not be called now: waits, and spends no attempt
    pending ──no call──▶ skipped | suppressed | budget_denied | failed (too late)

A worker takes a turn (turn.py): it tells what happened since the last one, and gets what changed,
which calls leave now, and when to look again. Steps are known by name, never by position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.enrichment.policy.budget import Permit
from services.enrichment.sources.call import Answer, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Finding

CLAUDE = SourceName.CLAUDE


class StepStatus(StrEnum):
    """How far a step has come."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETE = "complete"
    FAILED = "failed"
    SKIPPED = "skipped"
    CIRCUIT_OPEN = "circuit_open"
    NOT_FOUND = "not_found"
    SUPPRESSED = "suppressed"
    BUDGET_DENIED = "budget_denied"
    PARKED = "parked"


class RunStatus(StrEnum):
    """How far a run has come."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset(
    {StepStatus.PENDING, StepStatus.IN_PROGRESS, StepStatus.CIRCUIT_OPEN, StepStatus.PARKED}
)
WAITING = OPEN - {StepStatus.IN_PROGRESS}
RUN_ENDED = frozenset({RunStatus.COMPLETE, RunStatus.FAILED, RunStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Step:
    """One source's part in a run.

    `failures` counts the failed calls of the present `lookup`; a lost reply is none, since it says
    nothing about the source. `ready_at` is since when it could be called, or when its last call
    left; `parked_at` is since when the step has been waiting for its source.
    """

    source: SourceName
    status: StepStatus = StepStatus.PENDING
    reason: str = ""
    error_class: str = ""
    attempts: int = 0
    uncertain_attempts: int = 0
    failures: int = 0
    cost_micros: int = 0
    lookup: str = ""
    reused: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    next_attempt_at: datetime | None = None
    ready_at: datetime | None = None
    parked_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in OPEN


Steps = Mapping[SourceName, Step]
Findings = Mapping[SourceName, Finding | None]


@dataclass(frozen=True, slots=True)
class RunState:
    """A run between two turns; `lookups` are the ways in which a source can be asked about it."""

    status: RunStatus
    steps: Steps
    join_at: datetime
    deadline_at: datetime
    late_until: datetime
    lookups: Mapping[SourceName, tuple[str, ...]] = field(default_factory=dict)
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    """A call came back."""

    source: SourceName
    outcome: Answer | SourceError


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died, or was stopped, while a call was out: its reply is not known."""

    source: SourceName


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a call may not leave: `status` says for good, or until when.

    `is_lasting` says that the source is waited for in vain, such as for an account without credit.
    """

    status: StepStatus
    reason: str
    until: datetime | None = None
    is_lasting: bool = False


@dataclass(frozen=True, slots=True)
class PreviousCalls:
    """What became of the calls that earlier runs of the prospect had out when this one was made.

    `out` are those that have not come back, `lost` those whose reply is not known, `answers` what
    the others brought.
    """

    out: frozenset[SourceName] = frozenset()
    lost: frozenset[SourceName] = frozenset()
    answers: Mapping[SourceName, Answer] = field(default_factory=dict)


NO_PREVIOUS_CALLS = PreviousCalls()


@dataclass(frozen=True, slots=True)
class Parked:
    """The source may not be called now, so the step waits for it and spends no attempt."""

    source: SourceName
    denial: Denial


@dataclass(frozen=True, slots=True)
class Again:
    """A caller wants a source that the run waits for to be asked now."""

    source: SourceName


Happening = Returned | Lost | Parked | Again


class Rules(Protocol):
    """What policy, money and the sources' state say at the moment of the turn."""

    @property
    def ask_paid_again(self) -> bool:
        """Whether a paid source is asked once more when a crash lost its reply."""

    def denial(self, step: Step) -> Denial | None:
        """Say why a call may not leave, None where it may."""

    def admit(self, source: SourceName) -> float | None:
        """Take the admission for a call; return the seconds waited for it, None to wait for one."""

    def reserve(self, source: SourceName) -> Permit:
        """Reserve what the call may cost."""

    def settle(self, source: SourceName, cost_micros: int) -> None:
        """Free what was reserved for a call and not spent."""

    def refuses(self, answer: Answer) -> Denial | None:
        """Say why what a source brought is not kept, None where it is."""

    def recall(self, source: SourceName, brought: Findings) -> Answer | None:
        """Return what is known without a call: what an earlier run's call has brought since, or
        the summary of the run's evidence and what was just brought.
        """

    def fallback(self, brought: Findings) -> Finding:
        """Return a plain summary for a model's that failed its check."""


@dataclass(frozen=True, slots=True)
class Finish:
    """How a run ends, and which of the sources that were wanted brought nothing."""

    status: RunStatus
    missing: tuple[SourceName, ...]


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that leaves when the turn is committed."""

    source: SourceName
    attempt: int
    lookup: str
    permit: Permit
    queue_wait: float
    breaker_wait: float
    limiter_wait: float


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """What became of an attempt; what an `uncertain` one cost is not known."""

    source: SourceName
    attempt: int
    status: str
    outcome: Answer | SourceError


@dataclass(slots=True)
class Turn:
    """What a turn changes: all of it is written, or none."""

    steps: dict[SourceName, Step]
    changed: set[SourceName] = field(default_factory=set)
    begun: list[Begun] = field(default_factory=list)
    ended_attempts: list[EndedAttempt] = field(default_factory=list)
    findings: dict[SourceName, Finding | None] = field(default_factory=dict)
    amended: list[SourceName] = field(default_factory=list)
    finish: Finish | None = None
    wanted: list[SourceName] = field(default_factory=list)
    look_again_at: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.changed or self.finish)

    @property
    def brings(self) -> bool:
        """Whether it changes the prospect's findings, or ends the run."""
        return bool(self.findings or self.finish)

    @property
    def open(self) -> bool:
        """Whether a worker is still needed, now or later."""
        return any(not step.ended for step in self.steps.values())
