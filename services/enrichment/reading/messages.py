"""Rows and steps as messages of the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import asyncpg
import structlog
from google.protobuf import json_format
from prospect.enrichment.v1 import enrichment_service_pb2, runs_pb2
from prospect.enrichment.v1 import prospect_pb2 as pb

from chassis.clock import to_timestamp
from services.enrichment.run.messages import newer_step_message, run_status, steps_in_order
from services.enrichment.run.records import newer_steps
from services.enrichment.run.state import Step
from services.enrichment.sources.catalogue import SOURCES, SourceName

_log = structlog.get_logger()
_PROGRESS_VALUES = (
    "total", "pending", "in_progress", "complete", "failed", "cancelled", "cost_micros",
)  # fmt: skip
_ATTEMPT_STATUSES = frozenset(runs_pb2.AttemptStatus.keys())
_ATTEMPT_VALUES = (
    "source", "attempt", "lookup", "error_class", "reason", "source_request_id", "cost_micros",
    "queue_wait_ms", "breaker_wait_ms", "limiter_wait_ms", "worker",
)  # fmt: skip


def run_message(run: asyncpg.Record, steps: Mapping[SourceName, Step]) -> pb.Run:
    """Return a run as a message."""
    return pb.Run(
        run_id=str(run["run_id"]),
        prospect_id=str(run["prospect_id"]),
        status=run_status(run["status"]),
        steps=_steps(steps, run["steps"]),
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


def prospect_message(
    row: asyncpg.Record, steps: Mapping[SourceName, Step], rows: Sequence[asyncpg.Record]
) -> pb.Prospect:
    """Return a prospect as a message, without what was found; `rows` are the steps' rows."""
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
        enrichment_source_status=_steps(steps, rows),
        run_id=str(row["run_id"] or ""),
    )


def _steps(steps: Mapping[SourceName, Step], rows: Sequence[asyncpg.Record]) -> list[pb.Step]:
    """Return a run's steps, with those that only a newer version knows."""
    return [*steps_in_order(steps), *map(newer_step_message, newer_steps(rows))]


def add_findings(message: pb.Prospect, row: asyncpg.Record) -> None:
    """Add the findings as far as this version knows them; their JSON has the fields' names."""
    for field in (each.column for each in SOURCES.values()):
        if row[field] is not None:
            try:
                found, part = json.loads(row[field]), getattr(message, field)
                json_format.ParseDict(found, part, ignore_unknown_fields=True)
            except (json_format.ParseError, TypeError):  # its text is personal: not for the log
                _log.error("a finding cannot be read", field=field, prospect=message.prospect_id)
                message.ClearField(field)  # type: ignore[arg-type]


def progress_message(row: asyncpg.Record) -> enrichment_service_pb2.BatchProgress:
    """Return a batch's progress as a message."""
    return enrichment_service_pb2.BatchProgress(
        batch_id=str(row["batch_id"]),
        created_at=to_timestamp(row["created_at"]),
        **{name: row[name] for name in _PROGRESS_VALUES},
    )


def attempt_message(row: asyncpg.Record, traceparent: str) -> runs_pb2.Attempt:
    """Return a call to a source as a message; it belongs to its run's trace."""
    status = f"ATTEMPT_STATUS_{row['status'].upper()}"
    return runs_pb2.Attempt(
        status=runs_pb2.AttemptStatus.Value(status)
        if status in _ATTEMPT_STATUSES
        else runs_pb2.ATTEMPT_STATUS_UNSPECIFIED,
        started_at=to_timestamp(row["started_at"]),
        ended_at=to_timestamp(row["ended_at"]),
        trace_id=traceparent[3:35],
        **{name: row[name] for name in _ATTEMPT_VALUES},
    )
