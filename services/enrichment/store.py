"""Prospects, runs, steps and attempts in Postgres; functions take a connection in a transaction.

What a worker writes goes through `hold` first: it proves that the lease is still the worker's own
and renews it, so that a worker that comes late changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from chassis import telemetry
from chassis.clock import new_id
from chassis.database import Connection, Queries
from services.enrichment.findings import (
    Answer,
    Finding,
    SourceError,
    SourceName,
    Subject,
    from_json,
    to_json,
)
from services.enrichment.run import Finish, Step, StepStatus, first_steps

SQL = Queries(Path(__file__).parent / "queries.sql")
_SAVE_FINDING = {
    SourceName.CONTACTOUT: SQL.save_contact_data,
    SourceName.EXA: SQL.save_web_data,
    SourceName.SEC: SQL.save_insider_data,
    SourceName.CLAUDE: SQL.save_ai_summary,
}


class LeaseLost(Exception):
    """Another worker has the run, or it has ended; what was about to be written is dropped."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for an enrichment, from an RPC or an event."""

    tenant_id: UUID
    user_id: UUID
    prospect_id: UUID
    subject: Subject
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run that a request has got; `joined` says that it was there before."""

    run_id: UUID
    joined: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a run."""

    tenant_id: UUID
    run_id: UUID
    token: UUID
    seconds: float

    @property
    def interval(self) -> timedelta:
        """How long it holds without being renewed."""
        return timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run in a worker's hand."""

    lease: Lease
    prospect_id: UUID
    user_id: UUID
    subject: Subject
    deadline_at: datetime
    traceparent: str
    steps: dict[SourceName, Step]
    findings: dict[SourceName, Finding]


async def accept(
    connection: Connection, request: Request, now: datetime, deadline_at: datetime
) -> Accepted:
    """Write a run, or join the one in flight."""
    tenant_id, prospect_id = request.tenant_id, request.prospect_id
    if request.request_id:
        await connection.execute(SQL.lock_request, request.request_id)
        before = await connection.fetchval(SQL.find_run_of_request, tenant_id, request.request_id)
        if before:
            return Accepted(before, joined=True)
    who = _who(request.subject)
    await connection.execute(SQL.add_prospect, tenant_id, prospect_id, *who)
    await connection.execute(SQL.lock_prospect, tenant_id, prospect_id)
    in_flight = await connection.fetchval(SQL.find_run_in_flight, tenant_id, prospect_id)
    if in_flight:
        return Accepted(in_flight, joined=True)
    run_id = new_id(now)
    steps = first_steps(request.subject, now)
    statuses = json.dumps({source.value: step.status.value for source, step in steps.items()})
    await connection.execute(SQL.begin_prospect, tenant_id, prospect_id, *who, run_id, statuses)
    await connection.execute(
        SQL.add_run,
        tenant_id,
        run_id,
        prospect_id,
        request.user_id,
        request.request_id,
        telemetry.traceparent(),
        deadline_at,
        now,
    )
    await connection.execute(
        SQL.add_steps,
        tenant_id,
        run_id,
        [source.value for source in steps],
        [step.status.value for step in steps.values()],
        [step.reason for step in steps.values()],
        [step.ended_at for step in steps.values()],
    )
    return Accepted(run_id, joined=False)


async def find_waiting(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Return (tenant, run) of runs that wait for a worker; needs the claimer's role."""
    rows = await connection.fetch(SQL.find_waiting, limit)
    return [(row["tenant_id"], row["run_id"]) for row in rows]


async def claim(connection: Connection, lease: Lease) -> ClaimedRun | None:
    """Take a run, or return None where another worker was faster."""
    key = (lease.tenant_id, lease.run_id)
    run = await connection.fetchrow(SQL.claim, *key, lease.token, lease.interval)
    if run is None:
        return None
    who = await connection.fetchrow(SQL.load_subject, lease.tenant_id, run["prospect_id"])
    rows = await connection.fetch(SQL.load_steps, *key)
    assert who is not None  # noqa: S101 -- runs_prospect_fk holds it
    return ClaimedRun(
        lease=lease,
        prospect_id=run["prospect_id"],
        user_id=run["user_id"],
        subject=Subject(**dict(who)),
        deadline_at=run["deadline_at"],
        traceparent=run["traceparent"],
        steps={SourceName(row["source"]): _step(row) for row in rows},
        findings={
            SourceName(row["source"]): from_json(
                SourceName(row["source"]), json.loads(row["finding"])
            )
            for row in rows
            if row["finding"]
        },
    )


async def hold(connection: Connection, lease: Lease) -> None:
    """Renew the lease; raise LeaseLost where it is not ours any more."""
    held = await connection.fetchval(
        SQL.hold, lease.tenant_id, lease.run_id, lease.token, lease.interval
    )
    if not held:
        raise LeaseLost


async def release(connection: Connection, lease: Lease, wake_at: datetime) -> None:
    """Give the lease back until `wake_at`."""
    await connection.execute(SQL.release, lease.tenant_id, lease.run_id, lease.token, wake_at)


async def save_step(connection: Connection, run: ClaimedRun, step: Step) -> None:
    """Write a step, and show its status on the prospect."""
    tenant_id, run_id = run.lease.tenant_id, run.lease.run_id
    await connection.execute(
        SQL.save_step,
        tenant_id,
        run_id,
        step.source.value,
        step.status.value,
        step.reason[:500],
        step.error_class,
        step.attempts,
        step.uncertain_attempts,
        step.cost_micros,
        step.started_at,
        step.ended_at,
        step.next_attempt_at,
    )
    await connection.execute(
        SQL.save_source_status, tenant_id, run.prospect_id, step.source.value, step.status.value
    )


async def save_finding(
    connection: Connection, run: ClaimedRun, step: Step, finding: Finding | None
) -> None:
    """Store what a call brought, on the step and on the prospect; "not found" clears the latter."""
    tenant_id = run.lease.tenant_id
    if step.status not in (StepStatus.COMPLETE, StepStatus.NOT_FOUND):
        return
    text = json.dumps(to_json(finding)) if finding else None
    key = (tenant_id, run.lease.run_id, step.source.value)
    await connection.execute(SQL.save_step_finding, *key, text)
    await connection.execute(_SAVE_FINDING[step.source], tenant_id, run.prospect_id, text)


async def begin_attempt(connection: Connection, run: ClaimedRun, step: Step, now: datetime) -> None:
    """Write the step's newest call down before it leaves."""
    key = (run.lease.tenant_id, run.lease.run_id, step.source.value)
    await connection.execute(SQL.begin_attempt, *key, step.attempts, now)


async def settle_attempt(
    connection: Connection,
    run: ClaimedRun,
    step: Step,
    outcome: Answer | SourceError | None,
    now: datetime,
) -> None:
    """Write what became of the step's newest call; None means that its reply was lost."""
    status, error_class, reason, request_id, cost = "uncertain", "", "", "", 0
    if isinstance(outcome, Answer):
        status = "complete" if outcome.finding else "not_found"
        request_id, cost = outcome.request_id, outcome.cost_micros
    elif outcome is not None:
        status, error_class, reason = "failed", outcome.error_class.value, outcome.message[:500]
    await connection.execute(
        SQL.settle_attempt,
        run.lease.tenant_id,
        run.lease.run_id,
        step.source.value,
        step.attempts,
        status,
        error_class,
        reason,
        request_id,
        cost,
        now,
    )


async def end(connection: Connection, run: ClaimedRun, finish: Finish, now: datetime) -> None:
    """Write the run's end, on the run and on its prospect."""
    tenant_id, status = run.lease.tenant_id, finish.status.value
    missing = [source.value for source in finish.missing]
    await connection.execute(SQL.end_run, tenant_id, run.lease.run_id, status, missing, now)
    await connection.execute(SQL.end_prospect, tenant_id, run.prospect_id, status, now)


async def get_run(
    connection: Connection, tenant_id: UUID, run_id: UUID
) -> tuple[asyncpg.Record, Mapping[SourceName, Step]] | None:
    """Return a run and its steps."""
    run = await connection.fetchrow(SQL.get_run, tenant_id, run_id)
    if run is None:
        return None
    rows = await connection.fetch(SQL.load_steps, tenant_id, run_id)
    return run, {SourceName(row["source"]): _step(row) for row in rows}


async def get_prospect(
    connection: Connection, tenant_id: UUID, prospect_id: UUID
) -> asyncpg.Record | None:
    """Return a prospect."""
    return await connection.fetchrow(SQL.get_prospect, tenant_id, prospect_id)


def _who(subject: Subject) -> tuple[Any, ...]:
    return (
        subject.name,
        subject.email,
        subject.linkedin_url,
        subject.company,
        subject.title,
        subject.is_public_company,
        subject.company_cik,
    )


def _step(row: asyncpg.Record) -> Step:
    return Step(
        source=SourceName(row["source"]),
        status=StepStatus(row["status"]),
        reason=row["reason"],
        error_class=row["error_class"],
        attempts=row["attempts"],
        uncertain_attempts=row["uncertain_attempts"],
        cost_micros=row["cost_micros"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        next_attempt_at=row["next_attempt_at"],
    )
