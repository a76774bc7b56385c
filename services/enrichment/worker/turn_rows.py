"""Turns and new runs as rows: the lists that statements take as JSON, one dict a row."""

from __future__ import annotations

import base64
import os
import socket
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from chassis import telemetry
from chassis.messaging import OutgoingEvent
from services.enrichment.run.plan import HEAD_START, NewRun
from services.enrichment.run.state import (
    RUN_ENDED,
    Begun,
    EndedAttempt,
    RunStatus,
    Step,
    Steps,
    StepStatus,
    Turn,
)
from services.enrichment.run.turn import UNKNOWN
from services.enrichment.sources.call import SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Person
from services.enrichment.worker import announcements
from services.enrichment.worker.store import LeasedRun

WORKER = f"{socket.gethostname()}/{os.getpid()}"
QUEUE_PATIENCE = timedelta(hours=24)
"""A run that no worker begins within this time ends; once begun it has its own deadline."""
LISTS = ("runs", "steps", "begun", "ended_attempts", "money", "news")
_ANSWERED = (StepStatus.COMPLETE, StepStatus.NOT_FOUND)


class Rows:
    """Collects the rows of turns that are written together."""

    def __init__(self, now: datetime) -> None:
        self._lists: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._now = now

    def as_json(self) -> list[str | None]:
        """Return the lists as save_turns takes them, None for one with nothing in it.

        Raises orjson.JSONEncodeError for text that is not Unicode.
        """
        return [_json(self._lists[name]) if name in self._lists else None for name in LISTS]

    def add(self, run: LeasedRun, turn: Turn) -> None:
        """Add a turn's rows."""
        run_id = run.lease.run_id
        changed = _changed(turn)
        self._lists["runs"].append(self._run(run, turn, changed))
        self._lists["steps"] += _steps(run_id, changed)
        for begun in turn.begun:
            self._lists["begun"].append(_begun(run_id, begun, self._now))
            if reserved := begun.permit.reserved_micros:
                self._money(run_id, begun.source, begun.attempt, "reserve", reserved, None)
        for attempt in turn.ended_attempts:
            self._end_attempt(run, attempt)
        self._lists["news"] += _news(run, turn, changed, self._now)

    def _run(self, run: LeasedRun, turn: Turn, changed: list[Step]) -> dict[str, Any]:
        finish, findings = turn.finish, turn.findings
        status = finish.status if finish else run.state.status
        if status is RunStatus.PENDING:
            status = RunStatus.IN_PROGRESS
        found = {source.value: finding for source, finding in findings.items()}
        return {
            "run_id": run.lease.run_id,
            "epoch": run.lease.epoch,
            "prospect_id": run.prospect_id,
            "status": status.value,
            "missing": [s.value for s in finish.missing] if finish else None,
            "began_at": run.began_at,
            "deadline_at": run.state.deadline_at,
            "ended_at": self._now if finish else None,
            "amended_at": self._now if turn.amended else None,
            "open": turn.open,
            "at": self._now,
            "enrichment_status": _shown(run, turn, status),
            "enriched": bool(turn.amended) or (status is RunStatus.COMPLETE and finish is not None),
            "source_status": {step.source.value: step.status.value for step in changed},
            "answered": self._answered(run, changed),
            "found": list(found),
            **found,
        }

    def _answered(self, run: LeasedRun, changed: list[Step]) -> dict[str, Any]:
        """Return when each source answered, so that a later run need not ask again."""
        answered = {}
        for step in changed:
            if step.status not in _ANSWERED or step.reused:
                continue
            answered[step.source.value] = {"status": step.status.value, "at": self._now}
            if step.status is StepStatus.NOT_FOUND and step.reason != UNKNOWN:
                answered[step.source.value]["note"] = step.reason
            if step.source is SourceName.CLAUDE and not step.reason:
                answered[step.source.value]["memo"] = run.memo
        return answered

    def _end_attempt(self, run: LeasedRun, attempt: EndedAttempt) -> None:
        run_id, source, outcome = run.lease.run_id, attempt.source, attempt.outcome
        error = outcome if isinstance(outcome, SourceError) else None
        cost = None if attempt.status == "uncertain" else outcome.cost_micros
        self._lists["ended_attempts"].append(
            {
                "run_id": run_id,
                "source": source.value,
                "attempt": attempt.attempt,
                "status": attempt.status,
                "error_class": error.error_class.value if error else "",
                "reason": error.message[:500] if error else "",
                "request_id": outcome.request_id,
                "cost_micros": cost,
                "at": self._now,
            }
        )
        reserved, day = run.reserved.get(source, (0, self._now.date()))
        if cost is None or not (reserved or cost):
            return
        self._money(run_id, source, attempt.attempt, "settle", cost, day)
        if reserved != cost:
            self._money(run_id, source, attempt.attempt, "refund", reserved - cost, day)

    def _money(
        self,
        run_id: UUID,
        source: SourceName,
        attempt: int,
        kind: str,
        amount: int,
        day: date | None,
    ) -> None:
        self._lists["money"].append(
            {
                "run_id": run_id,
                "source": source.value,
                "attempt": attempt,
                "kind": kind,
                "amount_micros": amount,
                "at": self._now,
                "day": day or self._now.date(),
            }
        )


@dataclass(slots=True)
class NewRows:
    """Collects the rows of new runs, with the first turns of those that begin at once."""

    now: datetime
    runs: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    begun: list[dict[str, Any]] = field(default_factory=list)
    news: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> list[str | None]:
        """Return the lists as begin_runs takes them, None for one with nothing in it."""
        lists = (self.runs, self.steps, self.begun, self.news)
        return [_json(rows) if rows else None for rows in lists]

    def add(self, new: NewRun, begun: tuple[LeasedRun, Turn] | None = None) -> None:
        """Add a run; where this worker begins it at once, with its lease and its first turn."""
        steps, first = new.steps, dict[str, Any]()
        # A turn that brings something is written by save_turns, as any other.
        if begun and not (begun[1].is_empty or begun[1].brings):
            steps, first = begun[1].steps, self._first_turn(*begun)
        row = {
            "user_id": new.request.user_id,
            "traceparent": telemetry.traceparent(),
            "deadline_at": new.created_at + QUEUE_PATIENCE,
            "created_at": new.created_at,
            "batch_id": new.batch_id,
            "priority": int(new.request.priority),
            "line_at": new.created_at - HEAD_START[new.request.priority],
            "leased": begun is not None,
            "status": RunStatus.PENDING,
        }
        self.runs.append(_new_run(new, steps) | row | first)
        self.steps += _steps(new.run_id, steps.values())

    def _first_turn(self, run: LeasedRun, turn: Turn) -> dict[str, Any]:
        self.begun += [_begun(run.lease.run_id, begun, self.now) for begun in turn.begun]
        self.news += _news(run, turn, _changed(turn), self.now)
        return {
            "status": RunStatus.IN_PROGRESS,
            "began_at": run.began_at,
            "deadline_at": run.state.deadline_at,
        }


def debounced_rows(runs: Sequence[NewRun]) -> list[str]:
    """Return the lists that debounce takes: runs and steps."""
    rows = [_new_run(new, new.steps) for new in runs]
    steps = [row for new in runs for row in _steps(new.run_id, new.steps.values())]
    return [_json(rows), _json(steps)]


def _new_run(new: NewRun, steps: Steps) -> dict[str, Any]:
    request = new.request
    return {
        "run_id": new.run_id,
        "prospect_id": request.prospect_id,
        "wake_at": new.wake_at,
        "sources": request.sources,
        "budget_micros": request.budget_micros,
        "source_status": {source.value: step.status for source, step in steps.items()},
        "keeps_findings": new.keeps_findings,
        "keeps_answers": new.keeps_answers,
        **{name: getattr(request.person, name) for name in Person.__slots__},
    }


def _changed(turn: Turn) -> list[Step]:
    return [turn.steps[source] for source in SourceName if source in turn.changed]


def _steps(run_id: UUID, steps: Iterable[Step]) -> list[dict[str, Any]]:
    return [{"run_id": run_id, "step": step} for step in steps]


def _begun(run_id: UUID, begun: Begun, now: datetime) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "source": begun.source.value,
        "attempt": begun.attempt,
        "at": now,
        "lookup": begun.lookup,
        "reserved_micros": begun.permit.reserved_micros,
        "queue_wait_ms": round(begun.queue_wait * 1000),
        "breaker_wait_ms": round(begun.breaker_wait * 1000),
        "limiter_wait_ms": round(begun.limiter_wait * 1000),
        "worker": WORKER,
    }


def _news(
    run: LeasedRun, turn: Turn, changed: Sequence[Step], now: datetime
) -> list[dict[str, Any]]:
    # The end of a run tells of its last steps as well.
    events = [announcements.progressed(run, changed)] if changed and not turn.finish else []
    events += [announcements.amended(run, turn.steps[s], now) for s in turn.amended]
    if turn.finish:
        events.append(announcements.run_ended(run, turn.steps, turn.finish, now))
    return [_event(run, event) for event in events]


def _shown(run: LeasedRun, turn: Turn, status: RunStatus) -> str:
    """Return the prospect's status; a cancelled run is complete where it found something."""
    ended = status in RUN_ENDED
    if not ended:
        return RunStatus.IN_PROGRESS.value
    brought = any(
        step.status is StepStatus.COMPLETE
        for source, step in turn.steps.items()
        if source is not SourceName.CLAUDE
    )
    return (RunStatus.COMPLETE if brought else RunStatus.FAILED).value


def _event(run: LeasedRun, event: OutgoingEvent) -> dict[str, Any]:
    return {
        "run_id": run.lease.run_id,
        "event_id": event.event_id,
        "subject": event.subject,
        "event_type": event.event_type,
        "source": event.source,
        "body": base64.b64encode(event.body).decode(),
        "occurred_at": event.occurred_at,
        "traceparent": event.traceparent,
    }


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows, default=_plain).decode()


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, UUID):  # asyncpg's own kind, which orjson does not know
        return str(value)
    raise TypeError(f"{type(value).__name__} is not stored")
