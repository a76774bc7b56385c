"""The events of a run: its steps' progress, its end, and what came after its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message
from prospect.enrichment.v1 import events_pb2

from chassis.clock import to_timestamp
from chassis.messaging import OutgoingEvent
from services.enrichment.run.messages import SOURCE, step_message, steps_in_order
from services.enrichment.run.state import Finish, RunStatus, Step, Steps, StepStatus
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker.store import LeasedRun


def progressed(run: LeasedRun, steps: Sequence[Step]) -> OutgoingEvent:
    """Return the event that says which steps have changed."""
    *others, last = [step_message(step) for step in steps]
    message = events_pb2.EnrichmentProgressed(
        tenant_id=str(run.lease.tenant_id),
        run_id=str(run.lease.run_id),
        prospect_id=str(run.prospect_id),
        step=last,
        others=others,
    )
    return _event("prospect.enrich.progressed", run, message)


def amended(run: LeasedRun, step: Step, now: datetime) -> OutgoingEvent:
    """Return the event that says that a source answered after its run had ended."""
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
    """Return the event that says that every run of a batch has ended."""
    message = events_pb2.BatchEnded(
        tenant_id=str(tenant_id),
        batch_id=str(batch_id),
        user_id=str(user_id),
        ended_at=to_timestamp(now),
    )
    return OutgoingEvent.of(f"prospect.enrich.batch.{tenant_id}", message, SOURCE)


def run_ended(run: LeasedRun, steps: Steps, finish: Finish, now: datetime) -> OutgoingEvent:
    """Return the event that says how a run ended."""
    tenant_id, run_id = str(run.lease.tenant_id), str(run.lease.run_id)
    prospect_id, user_id = str(run.prospect_id), str(run.user_id)
    if finish.status is RunStatus.COMPLETE:
        completed = events_pb2.EnrichmentCompleted(
            tenant_id=tenant_id,
            run_id=run_id,
            prospect_id=prospect_id,
            user_id=user_id,
            complete=[
                s.value for s in SourceName if s in steps and steps[s].status is StepStatus.COMPLETE
            ],
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


def _event(subject: str, run: LeasedRun, message: Message) -> OutgoingEvent:
    event = OutgoingEvent.of(f"{subject}.{run.lease.tenant_id}", message, SOURCE)
    return replace(event, traceparent=run.traceparent)
