"""What workers read and write in Postgres: leases, new runs and turns.

Functions take a connection in a transaction. Everything a worker writes of a run is one statement,
fenced by the run's lease, so that a worker that comes late changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from uuid import UUID

import asyncpg

from chassis import telemetry
from chassis.database import Connection
from services.enrichment.policy.allowance import AllowanceRow
from services.enrichment.policy.policy import Policy, lookup_order
from services.enrichment.policy.suppression import Hasher, Key
from services.enrichment.run.plan import NewRun
from services.enrichment.run.records import (
    Remembered,
    _log,
    finding_of,
    is_of_newer_version,
    person_of,
    remembered,
    steps_of,
)
from services.enrichment.run.state import (
    NO_PREVIOUS_CALLS,
    Findings,
    PreviousCalls,
    RunState,
    RunStatus,
    Steps,
    StepStatus,
)
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Finding, Person
from services.enrichment.sql import SQL

LEFT_ALONE = timedelta(seconds=2)
"""For how long a run of a newer version is not due after it was handed back."""


class LeaseLost(Exception):
    """Another worker has leased the run, or it has ended: nothing was written."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long a lease lasts, how long a run may take, and how long it accepts late answers."""

    lease: timedelta
    deadline: timedelta
    late: timedelta


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a run: its worker's token, and how often it has been leased."""

    tenant_id: UUID
    run_id: UUID
    token: UUID
    epoch: int


@dataclass(slots=True)
class LeasedRun:
    """A run that a worker has leased; `memo` is the key of the evidence that Claude was given.

    `has_previous_calls` says that earlier runs had calls out when it was made, `outdated` that the
    prospect is asked about in other words since; `allowance_row` is the tenant's as last read.
    """

    lease: Lease
    prospect_id: UUID
    user_id: UUID
    person: Person
    traceparent: str
    created_at: datetime
    began_at: datetime
    budget_micros: int
    state: RunState
    findings: dict[SourceName, Finding]
    remembered: Remembered | None = None
    memo: str = ""
    reserved: dict[SourceName, tuple[int, date]] = field(default_factory=dict)
    has_previous_calls: bool = False
    previous: PreviousCalls = NO_PREVIOUS_CALLS
    outdated: bool = False
    allowance_row: AllowanceRow | None = None
    _keys: list[Key] | None = None

    def keys(self, hasher: Hasher) -> list[Key]:
        """Return the suppression keys of whom it is about."""
        if self._keys is None:
            self._keys = hasher.of_person(self.lease.tenant_id, self.person)
        return self._keys

    def evidence(self, brought: Findings) -> dict[SourceName, Finding]:
        """Return what research has found so far, with what this turn brings."""
        found = {**self.findings, **brought}
        return {s: f for s, f in found.items() if f and s is not SourceName.CLAUDE}

    @property
    def committed_micros(self) -> int:
        """What it has spent, with what is reserved for calls that are out."""
        out = sum(amount for amount, _ in self.reserved.values())
        return out + sum(step.cost_micros for step in self.state.steps.values())


# -- leasing ---------------------------------------------------------------------------------------


async def lease_due(
    connection: Connection, limit: int, lease_token: UUID, times: Times, default: Policy
) -> tuple[list[Lease], bool]:
    """Take the leases of up to `limit` runs that are due, and say whether others still wait.

    Needs the role enrichment_claimer.
    """
    await connection.execute(SQL.lock_leasing)
    cap, highest = default.most_runs_at_once, default.highest
    rows = await connection.fetch(
        SQL.lease_due,
        limit,
        lease_token,
        times.lease,
        cap,
        highest.most_runs_at_once,
        highest.weight,
    )
    leases = [
        Lease(row["tenant_id"], row["run_id"], lease_token, row["lease_epoch"]) for row in rows
    ]
    full = len(leases) == limit
    return leases, full or bool(await connection.fetchval(SQL.does_anyone_wait))


async def has_room(connection: Connection, tenant_id: UUID, runs: int, cap: int) -> bool:
    """Whether so many new runs may begin at once, without going before any run that waits.

    Nobody else leases a run until the transaction ends.
    """
    if not await connection.fetchval(SQL.try_lock_leasing):
        return False
    return bool(await connection.fetchval(SQL.has_room, tenant_id, runs, cap))


async def take_new(
    connection: Connection,
    tenant_id: UUID,
    made: Sequence[NewRun],
    lease_token: UUID,
    order: Sequence[str],
    times: Times,
    now: datetime,
) -> list[LeasedRun]:
    """Return new runs as leased to the worker that writes them; `order` is the policy's of
    ContactOut's lookups.
    """
    known = [new.request.prospect_id for new in made if new.known]
    rows = await connection.fetch(SQL.read_findings, tenant_id, known) if known else []
    by_prospect = {row["prospect_id"]: row for row in rows}
    runs = []
    for new in made:
        lease, request = Lease(tenant_id, new.run_id, lease_token, epoch=1), new.request
        deadline_at = now + times.deadline
        state = _state(RunStatus.PENDING, new.steps, request.person, order, deadline_at, times)
        row = by_prospect.get(request.prospect_id) if new.keeps_answers else None
        runs.append(
            LeasedRun(
                lease=lease,
                prospect_id=request.prospect_id,
                user_id=request.user_id,
                person=request.person,
                traceparent=telemetry.traceparent(),
                created_at=new.created_at,
                began_at=now,
                budget_micros=request.budget_micros,
                state=state,
                findings=_findings(row, new.steps) if row else {},
                remembered=remembered(row) if row else None,
            )
        )
    return runs


async def begin_runs(
    connection: Connection,
    tenant_id: UUID,
    lease_token: UUID | None,
    times: Times,
    lists: Sequence[str | None],
) -> None:
    """Write new runs, with the first turns of those that a worker begins at once."""
    await connection.execute(SQL.begin_runs, tenant_id, lease_token, times.lease, *lists)


async def renew(
    connection: Connection, lease_token: UUID, times: Times, leases: Sequence[Lease]
) -> dict[UUID, bool]:
    """Renew leases; return those that still hold, and whether the run is to be cancelled."""
    rows = await connection.fetch(
        SQL.renew,
        lease_token,
        times.lease,
        [lease.tenant_id for lease in leases],
        [lease.run_id for lease in leases],
        [lease.epoch for lease in leases],
    )
    return {row["run_id"]: row["cancel_requested"] for row in rows}


async def load_runs(
    connection: Connection, tenant_id: UUID, leases: Sequence[Lease], times: Times, now: datetime
) -> list[LeasedRun]:
    """Return leased runs of one tenant; one that cannot be read stops none of the others.

    A run that only a newer version can work on is handed back as it is.
    """
    by_run = {lease.run_id: lease for lease in leases}
    lease_token = leases[0].token
    rows = await connection.fetch(SQL.load_runs, tenant_id, list(by_run), lease_token)
    runs = []
    for row in rows:
        if is_of_newer_version(row):
            _log.info("a run is left to a newer version", run=str(row["run_id"]))
            await release(connection, by_run[row["run_id"]], now + LEFT_ALONE)
            continue
        try:
            runs.append(_leased(row, by_run[row["run_id"]], times, now))
        except Exception:
            _log.exception("a run cannot be read", run=str(row["run_id"]))
    return runs


async def release(connection: Connection, lease: Lease, wake_at: datetime) -> None:
    """Give a lease back until `wake_at`."""
    key = (lease.tenant_id, lease.run_id, lease.token, lease.epoch)
    await connection.execute(SQL.release, *key, wake_at)


def _leased(row: asyncpg.Record, lease: Lease, times: Times, now: datetime) -> LeasedRun:
    steps = steps_of(row["steps"])
    person = person_of(row)
    began_at = row["began_at"] or now
    deadline_at = min(row["deadline_at"], began_at + times.deadline)
    status, order = RunStatus(row["status"]), row["contact_lookups"] or ()
    state = _state(status, steps, person, order, deadline_at, times)
    return LeasedRun(
        lease=lease,
        prospect_id=row["prospect_id"],
        user_id=row["user_id"],
        person=person,
        traceparent=row["traceparent"],
        created_at=row["created_at"],
        began_at=began_at,
        budget_micros=row["budget_micros"],
        state=replace(state, cancel_requested=row["cancel_requested"]),
        findings=_findings(row, steps),
        remembered=remembered(row),
        # What is out is lost with the worker that asked, and may have cost its most.
        reserved={
            source: (SOURCES[source].max_cost_micros, now.date())
            for source, step in steps.items()
            if step.status is StepStatus.IN_PROGRESS
        },
        has_previous_calls=row["follows"],
    )


def _state(
    status: RunStatus,
    steps: Steps,
    person: Person,
    order: Sequence[str],
    deadline_at: datetime,
    times: Times,
) -> RunState:
    return RunState(
        status=status,
        steps=steps,
        join_at=deadline_at - times.deadline / 4,
        deadline_at=deadline_at,
        late_until=deadline_at + times.late,
        lookups={
            source: row.ways_to_ask(person, lookup_order(source, order))
            for source, row in SOURCES.items()
            if row.lookups
        },
    )


def _findings(row: asyncpg.Record, steps: Steps) -> dict[SourceName, Finding]:
    return {
        source: finding
        for source, step in steps.items()
        if step.status is StepStatus.COMPLETE and (finding := finding_of(row, source))
    }


async def save_turns(
    connection: Connection,
    tenant_id: UUID,
    lease_token: UUID,
    times: Times,
    lists: Sequence[str | None],
    version: int | None = None,
) -> dict[UUID, asyncpg.Record]:
    """Write turns; return the runs whose lease held.

    Where the allowance was read before this transaction, `version` is the one that was read: if it
    has changed, nothing is written and no run returned.
    """
    values = (tenant_id, lease_token, times.lease, *lists, version)
    rows = await connection.fetch(SQL.save_turns, *values)
    return {row["run_id"]: row for row in rows}


async def end_batches(
    connection: Connection, tenant_id: UUID, run_ids: Sequence[UUID], now: datetime
) -> list[tuple[UUID, UUID]]:
    """End the batches whose last run is among those that ended; return (batch, user)."""
    locked = await connection.fetch(SQL.lock_batches_of, tenant_id, run_ids)
    batch_ids = [row["batch_id"] for row in locked]
    if not batch_ids:
        return []
    rows = await connection.fetch(SQL.end_batches, tenant_id, batch_ids, now, run_ids)
    return [(row["batch_id"], row["user_id"]) for row in rows]
