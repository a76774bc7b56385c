"""A run's states and steps as messages."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
from prospect.enrichment.v1 import prospect_pb2 as pb

from chassis.clock import to_timestamp
from services.enrichment.run.state import Step
from services.enrichment.sources.catalogue import SourceName

SOURCE = "prospect/enrichment"
_RUN = frozenset(pb.EnrichmentStatus.keys())
_STEP = frozenset(pb.SourceStatus.keys())


def run_status(status: str) -> pb.EnrichmentStatus.ValueType:
    """Return the enum's value for a run's status; unspecified for one of a newer version."""
    name = f"ENRICHMENT_STATUS_{status.upper()}"
    return pb.EnrichmentStatus.Value(name) if name in _RUN else pb.ENRICHMENT_STATUS_UNSPECIFIED


def step_status(status: str) -> pb.SourceStatus.ValueType:
    """Return the enum's value for a step's status; unspecified for one of a newer version."""
    name = f"SOURCE_STATUS_{status.upper()}"
    return pb.SourceStatus.Value(name) if name in _STEP else pb.SOURCE_STATUS_UNSPECIFIED


def step_message(step: Step) -> pb.Step:
    """Return a step as a message."""
    return pb.Step(
        source=step.source.value,
        status=step_status(step.status.value),
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


def newer_step_message(row: asyncpg.Record) -> pb.Step:
    """Return a step of which only a newer version knows the source or the status."""
    return pb.Step(
        source=row["source"],
        status=step_status(row["status"]),
        reason=row["reason"],
        error_class=row["error_class"],
        attempts=row["attempts"],
        uncertain_attempts=row["uncertain_attempts"],
        cost_micros=row["cost_micros"],
        started_at=to_timestamp(row["started_at"]),
        ended_at=to_timestamp(row["ended_at"]),
        next_attempt_at=to_timestamp(row["next_attempt_at"]),
        is_reused=row["reused"],
        lookup=row["lookup"],
    )
