"""A run's states and steps as messages."""

from __future__ import annotations

from collections.abc import Mapping

from prospect.enrichment.v1 import prospect_pb2 as pb

from chassis.clock import to_timestamp
from services.enrichment.run.state import Step, StepStatus
from services.enrichment.sources.catalogue import SourceName

SOURCE = "prospect/enrichment"


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
