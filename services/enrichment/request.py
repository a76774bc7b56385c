"""What a request makes of what is known: the steps of a new run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from uuid import UUID

from services.enrichment.findings import SourceName, Subject
from services.enrichment.policy import Policy
from services.enrichment.run import CLAUDE, Step, StepStatus


class Priority(IntEnum):
    """A request's place among its tenant's own; the numbers are those of the contract."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


HEAD_START: Mapping[Priority, timedelta] = {
    Priority.LOW: timedelta(),
    Priority.NORMAL: timedelta(hours=12),
    Priority.HIGH: timedelta(hours=24),
}
"""By how much a request stands before those of its tenant that were asked for at the same time:
long enough to overtake a batch, short enough that what waits is not overtaken for ever."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for an enrichment, from an RPC or an event.

    `sources` are those to ask, empty for all; the others' answers are taken over, however old.
    """

    tenant_id: UUID
    user_id: UUID
    prospect_id: UUID
    subject: Subject
    request_id: UUID | None = None
    force: bool = False
    priority: Priority = Priority.NORMAL
    budget_micros: int = 0
    sources: tuple[SourceName, ...] = ()
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """That a source has answered before: complete or not_found, and when."""

    status: StepStatus
    at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a prospect: whom it was about, and which sources have answered."""

    subject: Subject
    answers: Mapping[SourceName, KnownAnswer]


def first_steps(
    request: Request, known: Known | None, policy: Policy, now: datetime
) -> dict[SourceName, Step]:
    """Return the steps of a new run, with the answers that still stand taken over."""
    answers = known.answers if known and keeps_answers(known.subject, request.subject) else {}
    return {
        source: _first_step(source, request, answers.get(source), policy, now)
        for source in SourceName
    }


def is_fresh(answer: KnownAnswer, source: SourceName, policy: Policy, now: datetime) -> bool:
    """Whether an answer still stands."""
    return now - answer.at < policy.fresh_for(source)


def _first_step(
    source: SourceName, request: Request, answer: KnownAnswer | None, policy: Policy, now: datetime
) -> Step:
    wanted = not request.sources or source in request.sources
    # Whether a summary still stands depends on what the others bring: decided when they have.
    step = Step(source, ready_at=None if source is CLAUDE else now)
    if answer and source is not CLAUDE and _takes_over(source, request, answer, policy, now):
        reason = f"answered at {answer.at:%Y-%m-%d %H:%M} UTC"
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
    if source is SourceName.SEC and not request.subject.is_public_company:
        return "the company is not public"
    if source is SourceName.SEC and request.subject.company_cik is None:
        return "no company_cik was given"
    return ""


def keeps_answers(before: Subject, now: Subject) -> bool:
    """Whether what sources answered stands under other words: all but the title are the same."""
    return replace(before, title="") == replace(now, title="")


def keeps_findings(before: Subject, now: Subject) -> bool:
    """Whether what was found is of the same person still."""
    return (before.name, before.company) == (now.name, now.company)
