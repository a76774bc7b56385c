"""What workers read and write in Postgres: claims, turns, and what a tenant allows.

Functions take a connection in a transaction. Everything a worker writes of a run is one statement,
fenced by the run's lease, so that a worker that comes late changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from chassis.database import Connection, Plans, Queries
from services.enrichment.findings import (
    Finding,
    SourceName,
    Subject,
    from_json,
)
from services.enrichment.policy import Policy, SourcePolicy
from services.enrichment.profiles import PROFILES
from services.enrichment.request import KnownAnswer
from services.enrichment.run import (
    NOTHING_BEFORE,
    Before,
    Findings,
    RunState,
    RunStatus,
    Step,
    StepStatus,
)
from services.enrichment.sources.contactout import lookups
from services.enrichment.suppression import Hasher, Key

_log = structlog.get_logger()
SQL = Queries(Path(__file__).parent / "queries.sql")
GENERIC: Plans = "force_generic_plan"
"""The statements take lists as JSON: no value makes one plan better than another."""
ANONYMOUS = UUID(int=0)
"""Who has asked, once the user has been erased."""
COLUMNS = {
    SourceName.CONTACTOUT: "contact_data",
    SourceName.EXA: "web_data",
    SourceName.SEC: "insider_data",
    SourceName.CLAUDE: "ai_summary",
}
"""Where a prospect keeps what each source found."""


class LeaseLost(Exception):
    """Another worker has the run, or it has ended; what was about to be written is dropped."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long things take at most."""

    lease: timedelta
    deadline: timedelta
    late: timedelta


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a run: a worker's token, and how often the run was claimed."""

    tenant_id: UUID
    run_id: UUID
    token: UUID
    epoch: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """The summary that a prospect has, and the key of the evidence that it rests on."""

    memo: str
    summary: Finding


@dataclass(slots=True)
class ClaimedRun:
    """A run in a worker's hand; `memo` is the key of the evidence that Claude was given.

    `follows` says that earlier runs had calls out when it was made, `outdated` that the prospect is
    asked about in other words since.
    """

    lease: Lease
    prospect_id: UUID
    user_id: UUID
    subject: Subject
    traceparent: str
    created_at: datetime
    began_at: datetime
    budget_micros: int
    state: RunState
    findings: dict[SourceName, Finding]
    remembered: Remembered | None = None
    memo: str = ""
    reserved: dict[SourceName, tuple[int, date]] = field(default_factory=dict)
    follows: bool = False
    before: Before = NOTHING_BEFORE
    outdated: bool = False
    _keys: list[Key] | None = None

    def keys(self, hasher: Hasher) -> list[Key]:
        """Return the suppression keys of whom it is about."""
        if self._keys is None:
            self._keys = hasher.of_subject(self.lease.tenant_id, self.subject)
        return self._keys

    def evidence(self, brought: Findings) -> dict[SourceName, Finding]:
        """Return what research has found, with what was just brought."""
        found = {**self.findings, **brought}
        return {s: f for s, f in found.items() if f and s is not SourceName.CLAUDE}

    @property
    def committed_micros(self) -> int:
        """What it has spent, with what is reserved for calls that are out."""
        out = sum(amount for amount, _ in self.reserved.values())
        return out + sum(step.cost_micros for step in self.state.steps.values())


# -- claiming --------------------------------------------------------------------------------------


async def claim(
    connection: Connection, limit: int, token: UUID, times: Times, cap: int
) -> tuple[list[Lease], bool]:
    """Take the leases of up to `limit` runs that are due, and say whether others still wait.

    Needs the claimer's role.
    """
    await connection.execute(SQL.lock_claims)
    rows = await connection.fetch(SQL.claim, limit, token, times.lease, cap)
    leases = [Lease(row["tenant_id"], row["run_id"], token, row["lease_epoch"]) for row in rows]
    full = len(leases) == limit
    return leases, full or bool(await connection.fetchval(SQL.does_anyone_wait))


async def claim_new(
    connection: Connection,
    tenant_id: UUID,
    run_ids: Sequence[UUID],
    token: UUID,
    times: Times,
    cap: int,
    now: datetime,
) -> list[ClaimedRun]:
    """Claim and load runs that the transaction has made, where that takes no other's turn."""
    if not await connection.fetchval(SQL.try_lock_claims):
        return []
    rows = await connection.fetch(SQL.claim_new, tenant_id, run_ids, token, times.lease, cap, now)
    return [
        _claimed(row, Lease(tenant_id, row["run_id"], token, row["lease_epoch"]), times, now)
        for row in rows
    ]


async def renew(
    connection: Connection, token: UUID, times: Times, leases: Sequence[Lease]
) -> dict[UUID, bool]:
    """Renew leases; return those that still hold, and whether the run is to be cancelled."""
    rows = await connection.fetch(
        SQL.renew,
        token,
        times.lease,
        [lease.tenant_id for lease in leases],
        [lease.run_id for lease in leases],
        [lease.epoch for lease in leases],
    )
    return {row["run_id"]: row["cancel_requested"] for row in rows}


async def load_runs(
    connection: Connection, tenant_id: UUID, leases: Sequence[Lease], times: Times, now: datetime
) -> list[ClaimedRun]:
    """Return claimed runs of one tenant; one that cannot be read stops none of the others."""
    by_run = {lease.run_id: lease for lease in leases}
    token = leases[0].token
    rows = await connection.fetch(SQL.load_runs, tenant_id, list(by_run), token)
    runs = []
    for row in rows:
        try:
            runs.append(_claimed(row, by_run[row["run_id"]], times, now))
        except Exception:
            _log.exception("a run cannot be read", run=str(row["run_id"]))
    return runs


async def release(connection: Connection, lease: Lease, wake_at: datetime) -> None:
    """Give a lease back until `wake_at`."""
    key = (lease.tenant_id, lease.run_id, lease.token, lease.epoch)
    await connection.execute(SQL.release, *key, wake_at)


def _claimed(row: asyncpg.Record, lease: Lease, times: Times, now: datetime) -> ClaimedRun:
    steps = {SourceName(each["source"]): step_of(each) for each in row["steps"]}
    subject = subject_of(row)
    began_at = row["began_at"] or now
    deadline_at = min(row["deadline_at"], began_at + times.deadline)
    order = row["contact_lookups"] or PROFILES[SourceName.CONTACTOUT].lookups
    state = RunState(
        status=RunStatus(row["status"]),
        steps=steps,
        join_at=deadline_at - times.deadline / 4,
        deadline_at=deadline_at,
        late_until=deadline_at + times.late,
        lookups={SourceName.CONTACTOUT: tuple(x for x in order if x in lookups(subject))},
        cancel_requested=row["cancel_requested"],
    )
    return ClaimedRun(
        lease=lease,
        prospect_id=row["prospect_id"],
        user_id=row["user_id"],
        subject=subject,
        traceparent=row["traceparent"],
        created_at=row["created_at"],
        began_at=began_at,
        budget_micros=row["budget_micros"],
        state=state,
        findings={
            source: finding
            for source, step in steps.items()
            if step.status is StepStatus.COMPLETE and (finding := finding_of(row, source))
        },
        remembered=remembered(row),
        # What is out is lost with the worker that asked, and may have cost its most.
        reserved={
            source: (PROFILES[source].most_cost_micros, now.date())
            for source, step in steps.items()
            if step.status is StepStatus.IN_PROGRESS
        },
        follows=row["follows"],
    )


def finding_of(row: asyncpg.Record, source: SourceName) -> Finding | None:
    """Return what a prospect's row has of a source; None where that cannot be read any more."""
    text = row[COLUMNS[source]]
    try:
        return from_json(source, json.loads(text)) if text else None
    except ValueError:  # its text is what was found of a person: not for the log
        _log.error("a finding cannot be read", source=source.value)
        return None


def remembered(row: asyncpg.Record) -> Remembered | None:
    """Return the summary that a prospect's row has, with the key of its evidence."""
    summary = finding_of(row, SourceName.CLAUDE) if row["memo"] else None
    return Remembered(row["memo"], summary) if summary else None


def answers_of(row: asyncpg.Record) -> dict[SourceName, KnownAnswer]:
    """Return which sources have answered about a prospect; what cannot be read has not."""
    answers = {}
    try:
        for name, answer in json.loads(row["answered"]).items():
            status, at = StepStatus(answer["status"]), datetime.fromisoformat(answer["at"])
            answers[SourceName(name)] = KnownAnswer(status, at)
    except (ValueError, TypeError, KeyError, AttributeError):
        _log.error("a prospect's answers cannot be read")
    return answers


def subject_of(row: asyncpg.Record) -> Subject:
    """Return whom a row is about."""
    return Subject(**{name: row[name] for name in Subject.__slots__})


@cache
def _step_fields() -> tuple[str, ...]:
    return tuple(name for name in Step.__slots__ if name not in ("source", "status"))


def step_of(row: asyncpg.Record) -> Step:
    """Return a row of steps as a value."""
    values: dict[str, Any] = {name: row[name] for name in _step_fields()}
    return Step(source=SourceName(row["source"]), status=StepStatus(row["status"]), **values)


class Seen(NamedTuple):
    """What a look at a tenant's gate shows: its policy, what it has committed of the day's budgets
    by source, and whether it suppresses anybody.
    """

    policy: Policy
    committed: Mapping[str, int]
    suppresses: bool


async def read_policy(connection: Connection, tenant_id: UUID, default: Policy) -> Policy:
    """Return a tenant's policy."""
    row = await connection.fetchrow(SQL.open_gate, tenant_id, date.min)
    return policy_of(row, default)


async def open_gate(connection: Connection, tenant_id: UUID, day: date, default: Policy) -> Seen:
    """Look at the gate; where a budget of the day limits, hold the day's spending still."""
    found = await look_at_gate(connection, tenant_id, day, default)
    if found.policy.has_day_budget:
        await connection.fetchval(SQL.lock_day, tenant_id, day)
        found = await look_at_gate(connection, tenant_id, day, default)
    return found


async def look_at_gate(connection: Connection, tenant_id: UUID, day: date, default: Policy) -> Seen:
    """Return a tenant's policy, what it has committed today, and whether it suppresses anybody."""
    row = await connection.fetchrow(SQL.open_gate, tenant_id, day)
    assert row is not None  # noqa: S101 -- the statement always gives a row
    committed = json.loads(row["committed"] or "{}")
    return Seen(policy_of(row, default), committed, row["suppresses"])


async def find_suppressed(
    connection: Connection, tenant_id: UUID, keys: Sequence[Key]
) -> frozenset[bytes]:
    """Return which keys are on the tenant's suppression list."""
    digests = [key.digest for key in keys]
    rows = await connection.fetch(SQL.find_suppressed, tenant_id, digests)
    return frozenset(row["digest"] for row in rows)


def policy_of(row: asyncpg.Record | None, default: Policy) -> Policy:
    """Return a row of policies as a value; the default where the tenant has none."""
    if row is None or row["tenant_id"] is None:
        return default
    sources = {
        SourceName(name): SourcePolicy(
            is_enabled=each["is_enabled"],
            fresh_for=timedelta(seconds=each["fresh_for_seconds"]) or None,
            day_budget_micros=each["day_budget_micros"],
        )
        for name, each in json.loads(row["sources"]).items()
    }
    plain = {n: row[n] for n in Policy.__slots__ if n not in ("contact_lookups", "sources")}
    plain |= {name: getattr(default, name) for name, value in plain.items() if value is None}
    return Policy(contact_lookups=tuple(row["contact_lookups"]), sources=sources, **plain)


async def save_turns(
    connection: Connection, tenant_id: UUID, token: UUID, times: Times, lists: Sequence[str | None]
) -> dict[UUID, asyncpg.Record]:
    """Write turns; return the runs that still were the worker's."""
    rows = await connection.fetch(SQL.save_turns, tenant_id, token, times.lease, *lists)
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
