"""Decides what becomes of requests: which begin a run, which join one, and with which steps.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum
from uuid import UUID

from services.enrichment.policy.policy import Policy
from services.enrichment.run.state import CLAUDE, Step, StepStatus
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Person
from services.enrichment.sources.identity import folded, profile_slug


class Priority(IntEnum):
    """How early a request is served among its tenant's own; the numbers are the contract's."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


HEAD_START: Mapping[Priority, timedelta] = {
    Priority.LOW: timedelta(),
    Priority.NORMAL: timedelta(hours=12),
    Priority.HIGH: timedelta(hours=24),
}
"""How much earlier a request of this priority counts as made, among its tenant's: enough to go
before a batch, little enough that a request of low priority does not wait for ever."""
UNDER_WAY = "RUN_UNDER_WAY"
"""The reason of a request that its prospect's run does not fit, since it is of other words."""
BEING_CANCELLED = "RUN_BEING_CANCELLED"
"""The reason of a request whose prospect's run is being cancelled."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for an enrichment, from an RPC or an event.

    `sent` is the person in the caller's own words, where these are not `person`'s. `sources` are
    those to ask, empty for all; the others' answers are taken over, however old.
    """

    tenant_id: UUID
    user_id: UUID
    prospect_id: UUID
    person: Person
    request_id: UUID | None = None
    force: bool = False
    priority: Priority = Priority.NORMAL
    budget_micros: int = 0
    sources: tuple[SourceName, ...] = ()
    is_new: bool = False
    sent: Person | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run that answers a request; `joined` says that the run existed already."""

    run_id: UUID
    prospect_id: UUID
    joined: bool


@dataclass(frozen=True, slots=True)
class CannotJoin:
    """That a request cannot join its prospect's run, and why in words."""

    run_id: UUID
    text: str
    being_cancelled: bool


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """That a source has answered before: complete or not_found, when, what was searched."""

    status: StepStatus
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a prospect: whom it was about, and which sources have answered.

    For those in `late` a run that has ended still waits: the next run waits for them instead.
    """

    person: Person
    answers: Mapping[SourceName, KnownAnswer]
    late: frozenset[SourceName] = frozenset()


NOTHING_KNOWN = Known(Person("", ""), {})


@dataclass(frozen=True, slots=True)
class InFlight:
    """A prospect's run that has not ended."""

    run_id: UUID
    began_at: datetime | None
    created_at: datetime
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is to be made, or to become another request's, with its first steps."""

    run_id: UUID
    request: Request
    steps: Mapping[SourceName, Step]
    known: Known | None
    created_at: datetime
    wake_at: datetime
    batch_id: UUID | None = None

    @property
    def keeps_answers(self) -> bool:
        """Whether what sources have answered about the prospect stands."""
        return self.known is None or keeps_answers(self.known.person, self.request.person)

    @property
    def keeps_findings(self) -> bool:
        """Whether what was found of the prospect stands."""
        return self.known is None or keeps_findings(self.known.person, self.request.person)


@dataclass(slots=True)
class Plan:
    """What becomes of requests, by prospect, and the answer to each request, by its key.

    `begun` are new runs with what they ask; `debounced` are requests that take over a run that
    waits.
    """

    begun: dict[UUID, tuple[UUID, Request]] = field(default_factory=dict)
    debounced: dict[UUID, Request] = field(default_factory=dict)
    answers: dict[UUID, Accepted | CannotJoin] = field(default_factory=dict)


def plan_runs(
    requests: Mapping[UUID, Request],
    known: Mapping[UUID, Known],
    in_flight: Mapping[UUID, InFlight],
    policy: Policy,
    make_id: Callable[[], UUID],
) -> Plan:
    """Let a prospect without a run begin one, and the others join; a run has one set of words.

    A run that no worker has begun becomes the newest request's where its words are others, or where
    the policy debounces.
    """
    plan = Plan()
    for key, request in requests.items():
        prospect_id = request.prospect_id
        running = in_flight.get(prospect_id)
        if running:
            words = plan.debounced.get(prospect_id, known[prospect_id]).person
            plan.answers[key] = _join(plan, request, running, words, policy)
            continue
        mine = plan.begun.get(prospect_id)
        run_id = mine[0] if mine else make_id()
        if not mine or _takes_over_run(mine[1].person, request, policy):
            plan.begun[prospect_id] = run_id, request
        plan.answers[key] = Accepted(run_id, prospect_id, joined=mine is not None)
    return plan


def _join(
    plan: Plan, request: Request, running: InFlight, words: Person, policy: Policy
) -> Accepted | CannotJoin:
    waits = running.began_at is None
    others = not keeps_answers(words, request.person)
    if running.cancel_requested or (others and not waits):
        doing = "being cancelled" if running.cancel_requested else "under way with other words"
        text = f"run {running.run_id} of this prospect is {doing}: request again when it has ended"
        return CannotJoin(running.run_id, text, running.cancel_requested)
    if waits and _takes_over_run(words, request, policy):
        plan.debounced[request.prospect_id] = request
    return Accepted(running.run_id, request.prospect_id, joined=True)


def _takes_over_run(words: Person, request: Request, policy: Policy) -> bool:
    return bool(policy.debounce_seconds) or not keeps_answers(words, request.person)


def new_run(
    run_id: UUID,
    request: Request,
    known: Mapping[UUID, Known],
    policy: Policy,
    now: datetime,
    wake_at: datetime,
    batch_id: UUID | None = None,
) -> NewRun:
    """Return a request's run with its first steps; `known` is what is known of prospects."""
    before = known.get(request.prospect_id)
    steps = first_steps(request, before, policy, now)
    return NewRun(run_id, request, steps, before, now, wake_at, batch_id)


def first_steps(
    request: Request, known: Known | None, policy: Policy, now: datetime
) -> dict[SourceName, Step]:
    """Return the steps of a new run, with the answers that still stand taken over."""
    stands = known if known and keeps_answers(known.person, request.person) else NOTHING_KNOWN
    return {source: _first_step(source, request, stands, policy, now) for source in SourceName}


def is_fresh(answer: KnownAnswer, source: SourceName, policy: Policy, now: datetime) -> bool:
    """Whether an answer still stands."""
    return now - answer.at < policy.fresh_for(source)


def _first_step(
    source: SourceName, request: Request, known: Known, policy: Policy, now: datetime
) -> Step:
    late, answer = source in known.late, known.answers.get(source)
    wanted = not request.sources or source in request.sources or late
    # Whether a summary still stands depends on what the others bring: decided when they have.
    step = Step(source, ready_at=None if source is CLAUDE else now)
    if late or source is CLAUDE:
        answer = None
    if answer and _takes_over(source, request, answer, policy, now):
        reason = f"answered at {answer.at:%Y-%m-%d %H:%M} UTC"
        reason += f": {answer.note}" if answer.note else ""
        return replace(step, status=answer.status, reason=reason, reused=True, ended_at=answer.at)
    no = _no_call(source, request, policy) if wanted else "not asked for"
    return replace(step, status=StepStatus.SKIPPED, reason=no, ended_at=now) if no else step


def _takes_over(
    source: SourceName, request: Request, answer: KnownAnswer, policy: Policy, now: datetime
) -> bool:
    if request.sources:
        return source not in request.sources
    return not request.force and is_fresh(answer, source, policy, now)


def _no_call(source: SourceName, request: Request, policy: Policy) -> str:
    """Say why a source is not asked about this person; empty where it is."""
    if not policy.source(source).is_enabled:
        return "the tenant's policy does not allow it"
    if source is SourceName.SEC and not request.person.is_public_company:
        return "the company is not public"
    if source is SourceName.SEC and request.person.company_cik is None:
        return "no company_cik was given"
    return ""


def keeps_answers(before: Person, now: Person) -> bool:
    """Whether answers still stand for a request: all but the title says the same."""
    return before == now or words_of(before) == words_of(now)


def keeps_findings(before: Person, now: Person) -> bool:
    """Whether what was found is still of the same person."""
    return words_of(before)[:2] == words_of(now)[:2]


def words_of(person: Person) -> tuple[object, ...]:
    """Return what a person is asked about with, the same however it is written."""
    return (
        folded(person.name),
        folded(person.company),
        folded(person.email),
        profile_slug(person.linkedin_url) or person.linkedin_url,
        person.is_public_company,
        person.company_cik,
    )
