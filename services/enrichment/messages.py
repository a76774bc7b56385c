"""From rows and steps to the messages of the contracts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import asyncpg
from google.protobuf import json_format
from prospect.enrichment.v1 import events_pb2
from prospect.enrichment.v1 import prospect_pb2 as pb

from chassis.clock import to_timestamp
from chassis.messaging import OutgoingEvent
from services.enrichment.findings import SourceName
from services.enrichment.run import Finish, RunStatus, Step, StepStatus
from services.enrichment.store import ClaimedRun

SOURCE = "prospect/enrichment"
FINDINGS = ("contact_data", "web_data", "insider_data", "ai_summary")


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
    )


def prospect_message(row: asyncpg.Record, steps: Mapping[SourceName, Step]) -> pb.Prospect:
    """Return a prospect as a message; the findings' JSON has the messages' own field names."""
    message = pb.Prospect(
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
    for field in FINDINGS:
        if row[field] is not None:
            json_format.ParseDict(json.loads(row[field]), getattr(message, field))
    return message


def progressed(tenant_id: UUID, run_id: UUID, prospect_id: UUID, step: Step) -> OutgoingEvent:
    """Return the event that tells of a step's change."""
    message = events_pb2.EnrichmentProgressed(
        tenant_id=str(tenant_id),
        run_id=str(run_id),
        prospect_id=str(prospect_id),
        step=step_message(step),
    )
    return OutgoingEvent.of(f"prospect.enrich.progressed.{tenant_id}", message, SOURCE)


def run_ended(run: ClaimedRun, finish: Finish, now: datetime) -> OutgoingEvent:
    """Return the event that tells of a run's end."""
    tenant_id, run_id = str(run.lease.tenant_id), str(run.lease.run_id)
    prospect_id, user_id = str(run.prospect_id), str(run.user_id)
    if finish.status is RunStatus.COMPLETE:
        completed = events_pb2.EnrichmentCompleted(
            tenant_id=tenant_id,
            run_id=run_id,
            prospect_id=prospect_id,
            user_id=user_id,
            complete=[s.value for s in SourceName if run.steps[s].status is StepStatus.COMPLETE],
            missing=[source.value for source in finish.missing],
            completed_at=to_timestamp(now),
        )
        return OutgoingEvent.of(f"prospect.enrich.completed.{tenant_id}", completed, SOURCE)
    failed = events_pb2.EnrichmentFailed(
        tenant_id=tenant_id,
        run_id=run_id,
        prospect_id=prospect_id,
        user_id=user_id,
        steps=steps_in_order(run.steps),
        failed_at=to_timestamp(now),
    )
    return OutgoingEvent.of(f"prospect.enrich.failed.{tenant_id}", failed, SOURCE)


def ended(status: pb.EnrichmentStatus.ValueType) -> bool:
    """Whether a run of this status has reached its end."""
    return status in (pb.ENRICHMENT_STATUS_COMPLETE, pb.ENRICHMENT_STATUS_FAILED)
