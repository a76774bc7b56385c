"""From rows and steps to the messages of the contracts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog
from google.protobuf import json_format
from google.protobuf.message import Message
from prospect.enrichment.v1 import enrichment_service_pb2, events_pb2, runs_pb2
from prospect.enrichment.v1 import prospect_pb2 as pb

from chassis.clock import to_timestamp
from chassis.messaging import OutgoingEvent
from services.enrichment.run import Finish, RunStatus, Step, Steps, StepStatus
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.store import ClaimedRun

SOURCE = "prospect/enrichment"
SOURCE_CHANGED = "prospect.source.changed"
_log = structlog.get_logger()
FINDINGS = ("contact_data", "web_data", "insider_data", "ai_summary")
_PROGRESS_VALUES = (
    "total", "pending", "in_progress", "complete", "failed", "cancelled", "cost_micros",
)  # fmt: skip
_ATTEMPT_VALUES = (
    "source", "attempt", "lookup", "error_class", "reason", "source_request_id", "cost_micros",
    "queue_wait_ms", "breaker_wait_ms", "limiter_wait_ms", "worker",
)  # fmt: skip


def run_status(status: str) -> pb.EnrichmentStatus.ValueType:
    """Return the enum's value for `pending`, `in_progress`, `complete` or `failed`."""
    return pb.EnrichmentStatus.Value(f"ENRICHMENT_STATUS_{status.upper()}")


def step_status(status: StepStatus) -> pb.SourceStatus.ValueType:
    """Return the enum's value for a step's status."""
    return pb.SourceStatus.Value(f"SOURCE_STATUS_{status.value.upper()}")


def step_message(step: Step) -> pb.Step:
    """Return a step as a message."""
    return pb.Step(
        source=step.source.value,
        status=step_status(step.status),
        reason=step.reason,
        error_class=step.error_class,
        attempts=step.attempts,
        uncertain_attempts=step.uncertain_attempts,
        cost_micros=step.cost_micros,
        started_at=to_timestamp(step.started_at),
        ended_at=to_timestamp(step.ended_at),
        next_attempt_at=to_timestamp(step.next_attempt_at),
        is_reused=step.reused,
        lookup=step.lookup,
    )


def steps_in_order(steps: Mapping[SourceName, Step]) -> list[pb.Step]:
    """Return the steps as messages, always in the order of the sources."""
    return [step_message(steps[source]) for source in SourceName if source in steps]


def run_message(run: asyncpg.Record, steps: Mapping[SourceName, Step]) -> pb.Run:
    """Return a run as a message."""
    return pb.Run(
        run_id=str(run["run_id"]),
        prospect_id=str(run["prospect_id"]),
        status=run_status(run["status"]),
        steps=steps_in_order(steps),
        missing=run["missing"],
        created_at=to_timestamp(run["created_at"]),
        ended_at=to_timestamp(run["ended_at"]),
        cost_micros=run["cost_micros"],
        priority=run["priority"],
        deadline_at=to_timestamp(run["deadline_at"]),
        batch_id=str(run["batch_id"] or ""),
        version=run["version"],
        user_id=str(run["user_id"]),
        amended_at=to_timestamp(run["amended_at"]),
        budget_micros=run["budget_micros"],
    )


def prospect_message(row: asyncpg.Record, steps: Mapping[SourceName, Step]) -> pb.Prospect:
    """Return a prospect as a message, without what was found."""
    return pb.Prospect(
        prospect_id=str(row["prospect_id"]),
        name=row["name"],
        email=row["email"],
        linkedin_url=row["linkedin_url"],
        company=row["company"],
        title=row["title"],
        is_public_company=row["is_public_company"],
        company_cik=str(row["company_cik"] or ""),
        enrichment_status=run_status(row["enrichment_status"]),
        last_enriched_at=to_timestamp(row["last_enriched_at"]),
        enrichment_source_status=steps_in_order(steps),
        run_id=str(row["run_id"] or ""),
    )


def add_findings(message: pb.Prospect, row: asyncpg.Record) -> None:
    """Add what was found, if it can be read; its JSON has the messages' own field names."""
    for field in FINDINGS:
        if row[field] is not None:
            try:
                json_format.ParseDict(json.loads(row[field]), getattr(message, field))
            except (json_format.ParseError, TypeError):  # its text is personal: not for the log
                _log.error("a finding cannot be read", field=field, prospect=message.prospect_id)
                message.ClearField(field)  # type: ignore[arg-type]


def progress_message(row: asyncpg.Record) -> enrichment_service_pb2.BatchProgress:
    """Return how far a batch has come as a message."""
    return enrichment_service_pb2.BatchProgress(
        batch_id=str(row["batch_id"]),
        created_at=to_timestamp(row["created_at"]),
        **{name: row[name] for name in _PROGRESS_VALUES},
    )


def attempt_message(row: asyncpg.Record, traceparent: str) -> runs_pb2.Attempt:
    """Return a call to a source as a message; it belongs to its run's trace."""
    return runs_pb2.Attempt(
        status=runs_pb2.AttemptStatus.Value(f"ATTEMPT_STATUS_{row['status'].upper()}"),
        started_at=to_timestamp(row["started_at"]),
        ended_at=to_timestamp(row["ended_at"]),
        trace_id=traceparent[3:35],
        **{name: row[name] for name in _ATTEMPT_VALUES},
    )


def progressed(run: ClaimedRun, steps: Sequence[Step]) -> OutgoingEvent:
    """Return the event that tells of steps' change."""
    *others, last = [step_message(step) for step in steps]
    message = events_pb2.EnrichmentProgressed(
        tenant_id=str(run.lease.tenant_id),
        run_id=str(run.lease.run_id),
        prospect_id=str(run.prospect_id),
        step=last,
        others=others,
    )
    return _event("prospect.enrich.progressed", run, message)


def amended(run: ClaimedRun, step: Step, now: datetime) -> OutgoingEvent:
    """Return the event that tells that a source answered after its run had ended."""
    message = events_pb2.EnrichmentAmended(
        tenant_id=str(run.lease.tenant_id),
        run_id=str(run.lease.run_id),
        prospect_id=str(run.prospect_id),
        user_id=str(run.user_id),
        step=step_message(step),
        amended_at=to_timestamp(now),
    )
    return _event("prospect.enrich.amended", run, message)


def batch_ended(tenant_id: UUID, batch_id: UUID, user_id: UUID, now: datetime) -> OutgoingEvent:
    """Return the event that tells that every run of a batch has ended."""
    message = events_pb2.BatchEnded(
        tenant_id=str(tenant_id),
        batch_id=str(batch_id),
        user_id=str(user_id),
        ended_at=to_timestamp(now),
    )
    return OutgoingEvent.of(f"prospect.enrich.batch.{tenant_id}", message, SOURCE)


def source_changed(
    source: SourceName, state: str, reason: str, until: datetime | None, now: datetime
) -> OutgoingEvent:
    """Return the event that tells that a source is left alone, or may be asked again."""
    message = events_pb2.SourceChanged(
        source=source.value,
        state=state,
        reason=reason,
        until=to_timestamp(until),
        changed_at=to_timestamp(now),
    )
    return OutgoingEvent.of(SOURCE_CHANGED, message, SOURCE)


def run_ended(run: ClaimedRun, steps: Steps, finish: Finish, now: datetime) -> OutgoingEvent:
    """Return the event that tells of a run's end."""
    tenant_id, run_id = str(run.lease.tenant_id), str(run.lease.run_id)
    prospect_id, user_id = str(run.prospect_id), str(run.user_id)
    if finish.status is RunStatus.COMPLETE:
        completed = events_pb2.EnrichmentCompleted(
            tenant_id=tenant_id,
            run_id=run_id,
            prospect_id=prospect_id,
            user_id=user_id,
            complete=[s.value for s in SourceName if steps[s].status is StepStatus.COMPLETE],
            missing=[source.value for source in finish.missing],
            completed_at=to_timestamp(now),
        )
        return _event("prospect.enrich.completed", run, completed)
    failed = events_pb2.EnrichmentFailed(
        tenant_id=tenant_id,
        run_id=run_id,
        prospect_id=prospect_id,
        user_id=user_id,
        steps=steps_in_order(steps),
        failed_at=to_timestamp(now),
        cancelled=finish.status is RunStatus.CANCELLED,
    )
    return _event("prospect.enrich.failed", run, failed)


def _event(subject: str, run: ClaimedRun, message: Message) -> OutgoingEvent:
    event = OutgoingEvent.of(f"{subject}.{run.lease.tenant_id}", message, SOURCE)
    return replace(event, traceparent=run.traceparent)


def ended(status: pb.EnrichmentStatus.ValueType) -> bool:
    """Whether a run of this status has reached its end."""
    return status in (
        pb.ENRICHMENT_STATUS_COMPLETE,
        pb.ENRICHMENT_STATUS_FAILED,
        pb.ENRICHMENT_STATUS_CANCELLED,
    )
