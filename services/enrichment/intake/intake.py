"""Accepting requests, from RPCs, batches and events alike: each becomes a run, or joins one.

One transaction accepts up to hundreds of one tenant. A request is idempotent by its
request_id, one of a batch by its place in it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import asyncpg

from chassis.clock import Clock, new_id
from chassis.database import Connection, Pool, retry_if_aborted, tenant_transaction
from chassis.errors import Refusal
from chassis.group_commit import GroupCommit
from services.enrichment import sql
from services.enrichment.intake.request_ids import (
    again,
    answered,
    find_repeats,
    place_taken,
    remember,
)
from services.enrichment.policy import store as policy_store
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Hasher
from services.enrichment.run.plan import (
    Accepted,
    InFlight,
    Known,
    Plan,
    Request,
    new_run,
    plan_runs,
    words_of,
)
from services.enrichment.run.records import known_of
from services.enrichment.run.state import Turn
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.catalogue import known as known_sources
from services.enrichment.sql import SQL
from services.enrichment.worker import store
from services.enrichment.worker.loop import Worker
from services.enrichment.worker.store import LeasedRun
from services.enrichment.worker.turn_rows import debounced_rows
from services.enrichment.worker.turn_writer import Writer

MAX_DEBOUNCES = 4
MAX_GROUP = 200
_WHO = (
    "name", "email", "linkedin_url", "company", "title", "is_public_company", "company_cik",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Taken:
    """The answers to requests that one transaction has accepted, in their order.

    `begun` are new runs that this worker has begun, `waits` says that others wait for a worker.
    """

    answers: list[Accepted | Refusal]
    begun: Sequence[tuple[LeasedRun, Turn]] = ()
    waits: bool = False


class Intake:
    """Accepts requests; `worker` begins their runs if it is free, `wake` tells all workers."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        default: Policy,
        hasher: Hasher,
        worker: Worker,
        writer: Writer,
        wake: Callable[[], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._default = default
        self._hasher = hasher
        self._worker = worker
        self._writer = writer
        self._wake = wake
        self._groups: GroupCommit[Request, Accepted] = GroupCommit(self._commit, MAX_GROUP)

    async def accept(self, request: Request) -> Accepted:
        """Accept a request, which is committed when this returns; raise a Refusal."""
        return await self._groups.submit(request.tenant_id, request)

    async def _commit(
        self, tenant_id: UUID, group: Sequence[Request]
    ) -> Sequence[Accepted | Exception]:
        """Commit requests together; where one is at fault, one by one."""
        try:
            return await retry_if_aborted(partial(self._commit_together, tenant_id, group))
        except asyncpg.ForeignKeyViolationError:  # a prospect was erased at this moment: make it
            return await self._commit(tenant_id, group)
        except asyncpg.DataError:
            if len(group) == 1:
                raise
            return [await self._alone(tenant_id, each) for each in group]

    async def _alone(self, tenant_id: UUID, request: Request) -> Accepted | Exception:
        try:
            return (await self._commit(tenant_id, [request]))[0]
        except Exception as error:
            return error

    async def _commit_together(
        self, tenant_id: UUID, group: Sequence[Request]
    ) -> Sequence[Accepted | Exception]:
        async with tenant_transaction(self._pool, tenant_id, plans=sql.GENERIC) as connection:
            taken = await self._accept_in(connection, group)
        if taken.begun:
            self._writer.tell()
        self._worker.drive(taken.begun)
        if taken.waits:
            await self._wake()
        return taken.answers

    async def accept_batch(
        self, batch_id: UUID, requests: Mapping[int, Request]
    ) -> dict[int, Accepted | Refusal]:
        """Accept requests by their places in a batch; a place that has its run keeps it."""
        requests = {place: self._named(each) for place, each in requests.items()}
        try:
            accepted = await retry_if_aborted(partial(self._accept_batch, batch_id, requests))
        except asyncpg.ForeignKeyViolationError:  # a prospect was erased at this moment: make it
            return await self.accept_batch(batch_id, requests)
        await self._wake()
        return accepted

    async def _accept_batch(
        self, batch_id: UUID, requests: Mapping[int, Request]
    ) -> dict[int, Accepted | Refusal]:
        first = next(iter(requests.values()))
        tenant_id, key = first.tenant_id, (first.tenant_id, batch_id)
        now = self._clock()
        answers: dict[int, Accepted | Refusal] = {}
        async with tenant_transaction(self._pool, tenant_id, plans=sql.GENERIC) as connection:
            await connection.execute(SQL.open_batch, *key, first.user_id, now)
            rows = await connection.fetch(SQL.find_batch_places, *key, list(requests))
            answers |= {row["place"]: place_taken(row) for row in rows}
            untaken = {place: each for place, each in requests.items() if place not in answers}
            equal = await _in_batch(connection, key, untaken)
            answers |= equal
            if new := {place: each for place, each in untaken.items() if place not in equal}:
                taken = await self._accept_in(connection, list(new.values()), batch_id)
                answers |= dict(zip(new, taken.answers, strict=True))
            if untaken:
                got = {p: a.run_id for p in untaken if isinstance(a := answers[p], Accepted)}
                await connection.execute(SQL.join_batch, *key, list(got), list(got.values()))
                if equal or any(each.request_id for each in new.values()):  # it may have ended
                    await store.end_batches(connection, tenant_id, list(got.values()), now)
        return answers

    def _named(self, request: Request) -> Request:
        """Give a request of a batch that names no prospect the one of its person.

        The id is made of the person's words under the deployment's secret: the same person in
        another row, or in another batch, is the same prospect and is not bought again.
        """
        if not request.is_new:
            return request
        words = json.dumps(words_of(request.person))
        keyed_hash = self._hasher.keyed_hash(request.tenant_id, "prospect", words)
        return replace(request, prospect_id=UUID(bytes=keyed_hash[:16], version=5))

    async def _accept_in(
        self, connection: Connection, requests: Sequence[Request], batch_id: UUID | None = None
    ) -> _Taken:
        now = self._clock()
        keys = [request.request_id or new_id(now) for request in requests]
        # Of requests with the same id in one call the first counts; the others repeat it.
        firsts = dict(zip(reversed(keys), reversed(requests), strict=True))
        answers = await find_repeats(connection, self._hasher, firsts, now)
        new = {key: firsts[key] for key in keys if key not in answers}
        taken = _Taken([])
        if new:
            plan, begun = await self._plan(connection, new, batch_id, now)
            answers |= {key: answered(each) for key, each in plan.answers.items()}
            taken = _Taken([], begun, bool(plan.debounced) or len(begun) < len(plan.begun))
        for key, request in zip(keys, requests, strict=True):
            first, answer = firsts[key], answers[key]
            taken.answers.append(answer if first is request else again(answer, first, request))
        return taken

    async def _plan(
        self,
        connection: Connection,
        new: Mapping[UUID, Request],
        batch_id: UUID | None,
        now: datetime,
    ) -> tuple[Plan, Sequence[tuple[LeasedRun, Turn]]]:
        """Decide what becomes of new requests, write it, and begin the runs that can begin now."""
        tenant_id = next(iter(new.values())).tenant_id
        known, in_flight = await _look_up(connection, tenant_id, list(new.values()))
        allowance = await policy_store.read_allowance(
            connection, tenant_id, now.date(), self._default
        )
        plan = plan_runs(new, known, in_flight, allowance.policy, lambda: new_id(now))
        begun: Sequence[tuple[LeasedRun, Turn]] = ()
        if plan.begun:
            wake_at = now + timedelta(seconds=allowance.policy.debounce_seconds)
            runs = [
                new_run(run_id, request, known, allowance.policy, now, wake_at, batch_id)
                for run_id, request in plan.begun.values()
            ]
            leased = await self._worker.lease_new(connection, tenant_id, runs, allowance)
            begun = await self._writer.write_new(connection, tenant_id, runs, leased, allowance)
        await remember(connection, new, plan.answers)
        if plan.debounced:
            debounced = list(plan.debounced.values())
            await _debounce(connection, debounced, in_flight, known, allowance.policy, now)
        return plan, begun


async def _in_batch(
    connection: Connection, key: tuple[UUID, UUID], requests: Mapping[int, Request]
) -> dict[int, Accepted]:
    """Return the runs that people have got by an equal request of the same batch, by place."""
    people = {
        place: each.prospect_id
        for place, each in requests.items()
        if each.is_new and not each.request_id
    }
    if not people:
        return {}
    rows = await connection.fetch(SQL.find_batch_people, *key, list(people.values()))
    runs = {row["prospect_id"]: row["run_id"] for row in rows}
    return {
        place: Accepted(runs[prospect_id], prospect_id, joined=True)
        for place, prospect_id in people.items()
        if prospect_id in runs
    }


async def _look_up(
    connection: Connection, tenant_id: UUID, requests: Sequence[Request]
) -> tuple[dict[UUID, Known], dict[UUID, InFlight]]:
    """Insert or lock the prospects; return what is known of them and their runs in flight."""
    by_id = {request.prospect_id: request.person for request in requests}
    columns = [[getattr(person, name) for person in by_id.values()] for name in _WHO]
    new = await connection.fetch(SQL.add_prospects, tenant_id, list(by_id), *columns)
    # Nothing is known of one that was just inserted, and no other transaction sees it.
    old = list(by_id.keys() - {row["prospect_id"] for row in new})
    if not old:
        return {}, {}
    rows = await connection.fetch(SQL.lock_prospects, tenant_id, old)
    runs = await connection.fetch(SQL.find_open_runs, tenant_id, old)
    late: dict[UUID, set[SourceName]] = defaultdict(set)
    for run in runs:
        late[run["prospect_id"]] |= set(known_sources(run["late"] or ()))
    known = {
        row["prospect_id"]: replace(known_of(row), late=frozenset(late[row["prospect_id"]]))
        for row in rows
    }
    return known, {
        run["prospect_id"]: InFlight(
            run["run_id"], run["began_at"], run["created_at"], run["cancel_requested"]
        )
        for run in runs
        if not run["has_ended"]
    }


async def _debounce(
    connection: Connection,
    requests: Sequence[Request],
    in_flight: Mapping[UUID, InFlight],
    known: Mapping[UUID, Known],
    policy: Policy,
    now: datetime,
) -> None:
    """Give runs that no worker has begun to these requests, and let them wait again: up to four
    times the policy's pause since they were made.
    """
    pause = timedelta(seconds=policy.debounce_seconds)
    runs = []
    for request in requests:
        running = in_flight[request.prospect_id]
        wake_at = min(now + pause, running.created_at + MAX_DEBOUNCES * pause)
        runs.append(new_run(running.run_id, request, known, policy, now, wake_at))
    await connection.execute(SQL.debounce, requests[0].tenant_id, *debounced_rows(runs))
