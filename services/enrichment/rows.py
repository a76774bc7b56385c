"""What a turn is in the database: the lists that `save_turns` takes, one row a dict."""

from __future__ import annotations

import base64
import os
import socket
from collections import defaultdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from chassis.messaging import OutgoingEvent
from services.enrichment import messages
from services.enrichment.findings import SourceError, SourceName
from services.enrichment.run import RUN_ENDED, RunStatus, Settled, Step, StepStatus, Turn
from services.enrichment.store import ClaimedRun

WORKER = f"{socket.gethostname()}/{os.getpid()}"
LISTS = ("runs", "steps", "begun", "settled", "money", "news")
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

    def add(self, run: ClaimedRun, turn: Turn) -> None:
        """Add a turn's rows."""
        run_id = run.lease.run_id
        changed = [turn.steps[source] for source in SourceName if source in turn.changed]
        self._lists["runs"].append(self._run(run, turn, changed))
        self._lists["steps"] += [{"run_id": run_id, "step": step} for step in changed]
        for begun in turn.begun:
            reserved = begun.permit.reserved_micros
            self._lists["begun"].append(
                {
                    "run_id": run_id,
                    "source": begun.source.value,
                    "attempt": begun.attempt,
                    "at": self._now,
                    "lookup": begun.lookup,
                    "reserved_micros": reserved,
                    "queue_wait_ms": round(begun.queue_wait * 1000),
                    "breaker_wait_ms": round(begun.breaker_wait * 1000),
                    "limiter_wait_ms": round(begun.limiter_wait * 1000),
                    "worker": WORKER,
                }
            )
            if reserved:
                self._money(run_id, begun.source, begun.attempt, "reserve", reserved, None)
        for settled in turn.settled:
            self._settle(run, settled)
        self._tell(run, turn, changed)

    def _run(self, run: ClaimedRun, turn: Turn, changed: list[Step]) -> dict[str, Any]:
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

    def _answered(self, run: ClaimedRun, changed: list[Step]) -> dict[str, Any]:
        """When each source answered, so that a later run need not ask again."""
        answered = {}
        for step in changed:
            if step.status not in _ANSWERED or step.reused:
                continue
            answered[step.source.value] = {"status": step.status.value, "at": self._now}
            if step.source is SourceName.CLAUDE and not step.reason:
                answered[step.source.value]["memo"] = run.memo
        return answered

    def _settle(self, run: ClaimedRun, settled: Settled) -> None:
        run_id, source, outcome = run.lease.run_id, settled.source, settled.outcome
        error = outcome if isinstance(outcome, SourceError) else None
        cost = None if settled.status == "uncertain" else outcome.cost_micros
        self._lists["settled"].append(
            {
                "run_id": run_id,
                "source": source.value,
                "attempt": settled.attempt,
                "status": settled.status,
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
        self._money(run_id, source, settled.attempt, "settle", cost, day)
        if reserved != cost:
            self._money(run_id, source, settled.attempt, "refund", reserved - cost, day)

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

    def _tell(self, run: ClaimedRun, turn: Turn, changed: list[Step]) -> None:
        # The end of a run tells of its last steps as well.
        events = [messages.progressed(run, changed)] if changed and not turn.finish else []
        events += [messages.amended(run, turn.steps[s], self._now) for s in turn.amended]
        if turn.finish:
            events.append(messages.run_ended(run, turn.steps, turn.finish, self._now))
        self._lists["news"] += [_news(run, event) for event in events]


def _shown(run: ClaimedRun, turn: Turn, status: RunStatus) -> str:
    """Return what the prospect shows; of a cancelled run, whether it brought something."""
    ended = status in RUN_ENDED
    if not ended:
        return RunStatus.IN_PROGRESS.value
    brought = any(
        step.status is StepStatus.COMPLETE
        for source, step in turn.steps.items()
        if source is not SourceName.CLAUDE
    )
    return (RunStatus.COMPLETE if brought else RunStatus.FAILED).value


def _news(run: ClaimedRun, event: OutgoingEvent) -> dict[str, Any]:
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
