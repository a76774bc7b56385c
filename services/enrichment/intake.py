"""Taking requests in, from RPCs, batches and events alike: each becomes a run, or joins one.

Up to hundreds of one tenant's are taken in by one transaction. A request is idempotent by its
request_id, one of a batch by its place in it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from chassis import telemetry
from chassis.clock import Clock, new_id
from chassis.database import Connection, Pool, tenant_transaction
from chassis.groups import Groups
from services.enrichment import store
from services.enrichment.findings import SourceName, Subject
from services.enrichment.policy import Policy
from services.enrichment.request import (
    HEAD_START,
    Known,
    Request,
    first_steps,
    keeps_answers,
    keeps_findings,
)
from services.enrichment.run import Step
from services.enrichment.store import SQL, Seen
from services.enrichment.worker import Worker

QUEUE_PATIENCE = timedelta(hours=24)
"""A run that no worker begins within this ends; its own deadline counts from its beginning."""
MOST_HOLDS = 4
MOST_TOGETHER = 200
_WHO = (
    "name", "email", "linkedin_url", "company", "title", "is_public_company", "company_cik",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run that a request has got; `joined` says that it was there before."""

    run_id: UUID
    prospect_id: UUID
    joined: bool


@dataclass(frozen=True, slots=True)
class InFlight:
    """A prospect's run that has not ended."""

    run_id: UUID
    began_at: datetime | None
    created_at: datetime


class Intake:
    """Writes requests down; `worker` begins their runs if it is free, `wake` tells all workers."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        default: Policy,
        worker: Worker,
        wake: Callable[[], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._default = default
        self._worker = worker
        self._wake = wake
        self._groups: Groups[Request, Accepted] = Groups(self._commit, MOST_TOGETHER)

    async def accept(self, request: Request) -> Accepted:
        """Take a request in; it is committed when this returns."""
        return await self._groups.do(request.tenant_id, request)

    async def _commit(
        self, tenant_id: UUID, group: Sequence[Request]
    ) -> list[Accepted | Exception]:
        """Commit requests together; where one is at fault, one by one."""
        try:
            async with tenant_transaction(self._pool, tenant_id, plans=store.GENERIC) as connection:
                accepted, seen = await self._accept_in(connection, group)
                made = [each.run_id for each in accepted if not each.joined]
                begun = []
                if made and seen:
                    begun = await self._worker.begin(connection, tenant_id, made, seen)
        except asyncpg.ForeignKeyViolationError:  # a prospect was erased at this moment: make it
            return await self._commit(tenant_id, group)
        except asyncpg.DataError:
            if len(group) == 1:
                raise
            return [(await self._commit(tenant_id, [each]))[0] for each in group]
        self._worker.drive(begun)
        if len(begun) < len(made):
            await self._wake()
        return [*accepted]

    async def accept_batch(
        self, batch_id: UUID, requests: Mapping[int, Request]
    ) -> dict[int, Accepted]:
        """Take in requests by their places in a batch; a place that has its run keeps it."""
        try:
            accepted = await self._accept_batch(batch_id, requests)
        except asyncpg.ForeignKeyViolationError:  # a prospect was erased at this moment: make it
            return await self.accept_batch(batch_id, requests)
        await self._wake()
        return accepted

    async def _accept_batch(
        self, batch_id: UUID, requests: Mapping[int, Request]
    ) -> dict[int, Accepted]:
        first = next(iter(requests.values()))
        tenant_id, key = first.tenant_id, (first.tenant_id, batch_id)
        now = self._clock()
        async with tenant_transaction(self._pool, tenant_id, plans=store.GENERIC) as connection:
            await connection.execute(SQL.open_batch, *key, first.user_id, now)
            rows = await connection.fetch(SQL.find_batch_places, *key, list(requests))
            accepted = {r["place"]: Accepted(r["run_id"], r["prospect_id"], True) for r in rows}
            new = {place: each for place, each in requests.items() if place not in accepted}
            if new:
                taken, _ = await self._accept_in(connection, list(new.values()), batch_id)
                accepted |= dict(zip(new, taken, strict=True))
                run_ids = [accepted[place].run_id for place in new]
                await connection.execute(SQL.join_batch, *key, list(new), run_ids)
                if any(each.request_id for each in new.values()):  # it may have ended before
                    await store.end_batches(connection, tenant_id, run_ids, now)
        return accepted

    async def _accept_in(
        self, connection: Connection, requests: Sequence[Request], batch_id: UUID | None = None
    ) -> tuple[list[Accepted], Seen | None]:
        now = self._clock()
        keys = [request.request_id or new_id(now) for request in requests]
        # The same id again in this call is a repeat as well: the first counts.
        firsts = dict(zip(reversed(keys), reversed(requests), strict=True))
        answers = await _find_repeats(connection, firsts, now)
        new = {key: request for key, request in firsts.items() if key not in answers}
        seen = None
        if new:
            decided, seen = await self._decide(connection, new, batch_id, now)
            answers |= decided
        told: set[UUID] = set()
        accepted = []
        for key in keys:
            accepted.append(replace(answers[key], joined=answers[key].joined or key in told))
            told.add(key)
        return accepted, seen

    async def _decide(
        self,
        connection: Connection,
        new: Mapping[UUID, Request],
        batch_id: UUID | None,
        now: datetime,
    ) -> tuple[dict[UUID, Accepted], Seen]:
        """Begin a run for each request whose prospect has none under way; let the others join."""
        tenant_id = next(iter(new.values())).tenant_id
        known, in_flight = await _look_up(connection, tenant_id, list(new.values()))
        seen = await store.look_at_gate(connection, tenant_id, now.date(), self._default)
        policy = seen.policy
        begun: list[tuple[Request, UUID]] = []
        answers: dict[UUID, Accepted] = {}
        for key, request in new.items():
            running = in_flight.get(request.prospect_id)
            if not running:
                run_id = new_id(now)
                begun.append((request, run_id))
                in_flight[request.prospect_id] = InFlight(run_id, None, now)
            joined = running is not None
            run_id = in_flight[request.prospect_id].run_id
            answers[key] = Accepted(run_id, request.prospect_id, joined)
        if begun:
            await self._begin(connection, begun, known, policy, batch_id, now)
        await _remember(connection, new, answers)
        joined_requests = [request for key, request in new.items() if answers[key].joined]
        if policy.debounce_seconds and joined_requests:
            await _hold_back(connection, joined_requests, in_flight, known, policy, now)
        return answers, seen

    async def _begin(
        self,
        connection: Connection,
        begun: Sequence[tuple[Request, UUID]],
        known: Mapping[UUID, Known],
        policy: Policy,
        batch_id: UUID | None,
        now: datetime,
    ) -> None:
        runs, steps = [], []
        for request, run_id in begun:
            before = known.get(request.prospect_id)
            first = first_steps(request, before, policy, now)
            runs.append(_run_row(request, run_id, first, before, policy, now, batch_id))
            steps += [_step_row(run_id, step) for step in first.values()]
        tenant_id = begun[0][0].tenant_id
        await connection.execute(SQL.begin_runs, tenant_id, json.dumps(runs), json.dumps(steps))


async def _find_repeats(
    connection: Connection, firsts: Mapping[UUID, Request], now: datetime
) -> dict[UUID, Accepted]:
    """Return what requests with the same ids have got; one that is being taken in is waited for."""
    ids = sorted(key for key, request in firsts.items() if request.request_id)
    if not ids:
        return {}
    tenant_id = next(iter(firsts.values())).tenant_id
    mine = await connection.fetch(SQL.claim_requests, tenant_id, ids, now)
    repeated = set(ids) - {row["request_id"] for row in mine}
    if not repeated:
        return {}
    rows = await connection.fetch(SQL.find_requests, tenant_id, list(repeated))
    return {r["request_id"]: Accepted(r["run_id"], r["prospect_id"], True) for r in rows}


async def _remember(
    connection: Connection,
    requests: Mapping[UUID, Request],
    answers: Mapping[UUID, Accepted],
) -> None:
    """Keep which run each request id got."""
    got = {key: answers[key].run_id for key, request in requests.items() if request.request_id}
    if got:
        tenant_id = next(iter(requests.values())).tenant_id
        await connection.execute(SQL.remember_requests, tenant_id, list(got), list(got.values()))


async def _look_up(
    connection: Connection, tenant_id: UUID, requests: Sequence[Request]
) -> tuple[dict[UUID, Known], dict[UUID, InFlight]]:
    """Make the prospects, hold them still, and return what is known and what is in flight."""
    by_id = {request.prospect_id: request.subject for request in requests}
    columns = [[getattr(subject, name) for subject in by_id.values()] for name in _WHO]
    await connection.execute(SQL.add_prospects, tenant_id, list(by_id), *columns)
    old = list({request.prospect_id for request in requests if not request.is_new})
    if not old:
        return {}, {}
    rows = await connection.fetch(SQL.lock_prospects, tenant_id, old)
    flying = await connection.fetch(SQL.find_runs_in_flight, tenant_id, old)
    known = {row["prospect_id"]: known_of(row) for row in rows}
    return known, {
        row["prospect_id"]: InFlight(row["run_id"], row["began_at"], row["created_at"])
        for row in flying
    }


def known_of(row: asyncpg.Record) -> Known:
    """Return a row of prospects as what is known."""
    return Known(store.subject_of(row), store.answers_of(row))


async def _hold_back(
    connection: Connection,
    joined: Sequence[Request],
    in_flight: Mapping[UUID, InFlight],
    known: Mapping[UUID, Known],
    policy: Policy,
    now: datetime,
) -> None:
    """Debounce: what has not begun waits again, up to four times, as the newest request's."""
    pause = timedelta(seconds=policy.debounce_seconds)
    runs, steps = [], []
    for request in {each.prospect_id: each for each in joined}.values():
        running = in_flight[request.prospect_id]
        if running.began_at is None:
            before = known.get(request.prospect_id)
            first = first_steps(request, before, policy, now)
            wake_at = min(now + pause, running.created_at + MOST_HOLDS * pause)
            row = _run_row(request, running.run_id, first, before, policy, now)
            runs.append(row | {"wake_at": wake_at.isoformat()})
            steps += [_step_row(running.run_id, step) for step in first.values()]
    if runs:
        tenant_id = joined[0].tenant_id
        await connection.execute(SQL.hold_back, tenant_id, json.dumps(runs), json.dumps(steps))


def _run_row(
    request: Request,
    run_id: UUID,
    steps: Mapping[SourceName, Step],
    before: Known | None,
    policy: Policy,
    now: datetime,
    batch_id: UUID | None = None,
) -> dict[str, Any]:
    was = before.subject if before else request.subject
    return {
        "run_id": str(run_id),
        "prospect_id": str(request.prospect_id),
        "user_id": str(request.user_id),
        "traceparent": telemetry.traceparent(),
        "deadline_at": (now + QUEUE_PATIENCE).isoformat(),
        "created_at": now.isoformat(),
        "wake_at": (now + timedelta(seconds=policy.debounce_seconds)).isoformat(),
        "batch_id": str(batch_id) if batch_id else None,
        "priority": int(request.priority),
        "line_at": (now - HEAD_START[request.priority]).isoformat(),
        "sources": [source.value for source in request.sources],
        "budget_micros": request.budget_micros,
        "source_status": {source.value: step.status.value for source, step in steps.items()},
        "keeps_findings": keeps_findings(was, request.subject),
        "keeps_answers": keeps_answers(was, request.subject),
        **_who(request.subject),
    }


def _step_row(run_id: UUID, step: Step) -> dict[str, Any]:
    return {
        "run_id": str(run_id),
        "source": step.source.value,
        "status": step.status.value,
        "reason": step.reason,
        "reused": step.reused,
        "ended_at": step.ended_at.isoformat() if step.ended_at else None,
        "ready_at": step.ready_at.isoformat() if step.ready_at else None,
    }


def _who(subject: Subject) -> dict[str, Any]:
    return {name: getattr(subject, name) for name in _WHO}
