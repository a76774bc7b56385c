"""Takes and writes turns; those of a tenant that come together share one transaction."""

from __future__ import annotations

import random
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from uuid import UUID

import asyncpg
import orjson

from chassis import outbox
from chassis.clock import Clock
from chassis.database import Connection, Pool, retry_if_aborted, tenant_transaction
from chassis.group_commit import GroupCommit
from chassis.outbox import Relay
from services.enrichment import sql
from services.enrichment.policy import store as policy_store
from services.enrichment.policy.allowance import AllowanceRow, TenantAllowance
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Key
from services.enrichment.run.plan import NewRun
from services.enrichment.run.state import RUN_ENDED, Happening, Returned, RunStatus, Turn
from services.enrichment.run.turn import take_turn
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker import announcements, store
from services.enrichment.worker.previous_calls import refresh_previous_calls
from services.enrichment.worker.run_rules import RuleInputs, RunRules
from services.enrichment.worker.store import LeasedRun, LeaseLost, Times
from services.enrichment.worker.turn_rows import NewRows, Rows

MAX_GROUP = 64


@dataclass(slots=True)
class Move:
    """A run that takes a turn: what happened to it, and its admissions."""

    run: LeasedRun
    happened: Sequence[Happening]
    admitted: MutableMapping[SourceName, float]


@dataclass(slots=True)
class _Taken:
    """Turns, and once they are written, the runs whose lease held."""

    turns: Sequence[tuple[Move, Turn | Exception]]
    now: datetime
    held: Mapping[UUID, asyncpg.Record] = field(default_factory=dict)

    @property
    def good(self) -> list[tuple[Move, Turn]]:
        """The turns that can be written."""
        return [(move, turn) for move, turn in self.turns if isinstance(turn, Turn)]

    def apply(self) -> list[Turn | Exception]:
        """Update the runs in memory to what is committed, and return each run's turn."""
        results: list[Turn | Exception] = []
        for move, turn in self.turns:
            if isinstance(turn, Exception):
                results.append(turn)
            elif turn.is_empty or move.run.lease.run_id in self.held:
                _apply(move, turn, self.now, self.held.get(move.run.lease.run_id))
                results.append(turn)
            else:
                results.append(LeaseLost())
        return results


class Writer:
    """Takes runs' turns, and returns when they are committed."""

    def __init__(
        self,
        pool: Pool,
        relay: Relay,
        inputs: RuleInputs,
        times: Times,
        default: Policy,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._inputs = inputs
        self._times = times
        self._default = default
        self._clock = clock
        self._groups: GroupCommit[Move, Turn] = GroupCommit(self._commit, MAX_GROUP)

    async def take_turn(
        self,
        run: LeasedRun,
        happened: Sequence[Happening],
        admitted: MutableMapping[SourceName, float],
    ) -> Turn:
        """Take a run's turn; raise LeaseLost where it is another worker's now."""
        return await self._groups.submit(run.lease.tenant_id, Move(run, happened, admitted))

    async def _commit(self, tenant_id: UUID, group: Sequence[Move]) -> list[Turn | Exception]:
        """Commit a group's turns together; one by one where Postgres cannot store an answer."""
        together = partial(self._commit_together, tenant_id)
        try:
            return await retry_if_aborted(partial(together, group))
        except (asyncpg.DataError, orjson.JSONEncodeError):
            if len(group) == 1:
                return await retry_if_aborted(partial(together, [_refused(group[0])]))
        except asyncpg.IntegrityConstraintViolationError:
            # A commit whose acknowledgement was lost, too: the run is read anew.
            if len(group) == 1:
                raise
        return [await self._alone(tenant_id, move) for move in group]

    async def _alone(self, tenant_id: UUID, move: Move) -> Turn | Exception:
        try:
            return (await self._commit(tenant_id, [move]))[0]
        except Exception as error:
            return error

    async def _commit_together(
        self, tenant_id: UUID, group: Sequence[Move]
    ) -> list[Turn | Exception]:
        async with tenant_transaction(self._pool, tenant_id, plans=sql.GENERIC) as connection:
            taken = await self._take_turns(connection, tenant_id, group)
        self.tell()
        return taken.apply()

    def tell(self) -> None:
        """Wake the relay, which publishes the events of what is committed."""
        self._relay.wake()

    async def write_new(
        self,
        connection: Connection,
        tenant_id: UUID,
        made: Sequence[NewRun],
        runs: Sequence[LeasedRun],
        row: AllowanceRow,
    ) -> list[tuple[LeasedRun, Turn]]:
        """Write new runs in the caller's transaction, with the first turns of those it has leased.

        `tell` when it ends. `row` is the tenant's allowance as that transaction has read it.
        """
        now, group = self._clock(), [Move(run, (), {}) for run in runs]
        allowance = row.allowance()
        for run in runs:
            run.allowance_row = row
        if runs and not row.needs_no_lock:
            allowance = await self._lock_allowance(connection, tenant_id, group, now)
        turns = [(move, self._take(move, allowance, now)) for move in group]
        good = [(move, turn) for move, turn in turns if isinstance(turn, Turn)]
        begun = {move.run.lease.run_id: (move.run, turn) for move, turn in good}
        rows = NewRows(now)
        for new in made:
            rows.add(new, begun.get(new.run_id))
        lease_token = runs[0].lease.token if runs else None
        await store.begin_runs(connection, tenant_id, lease_token, self._times, rows.as_json())
        more = [(move, turn) for move, turn in good if turn.brings]
        await self._write(connection, tenant_id, more, now)
        for move, turn in good:
            _apply(move, turn, now)
        return list(begun.values())

    async def _take_turns(
        self, connection: Connection, tenant_id: UUID, group: Sequence[Move]
    ) -> _Taken:
        """Take turns by the allowance as last read; where it has changed, by what it is now."""
        now = self._clock()
        runs = [move.run for move in group]
        row = _known_allowance(runs)
        if row:
            await refresh_previous_calls(connection, tenant_id, runs, self._times, now)
            allowance = row.allowance()
            taken = self._take_by(allowance, group, now)
            taken.held = await self._write(connection, tenant_id, taken.good, now, row.version)
            if taken.held or all(turn.is_empty for _, turn in taken.good):
                return taken
        allowance = await self._lock_allowance(connection, tenant_id, group, now)
        await refresh_previous_calls(connection, tenant_id, runs, self._times, now)
        taken = self._take_by(allowance, group, now)
        taken.held = await self._write(connection, tenant_id, taken.good, now)
        return taken

    def _take_by(self, allowance: TenantAllowance, group: Sequence[Move], now: datetime) -> _Taken:
        epochs = _newest_epochs(group)
        turns = [
            (move, self._take(move, allowance, now) if _is_newest(move, epochs) else LeaseLost())
            for move in group
        ]
        return _Taken(turns, now)

    async def _lock_allowance(
        self, connection: Connection, tenant_id: UUID, group: Sequence[Move], now: datetime
    ) -> TenantAllowance:
        day = now.date()
        row = await policy_store.lock_allowance(connection, tenant_id, day, self._default)
        for move in group:
            move.run.allowance_row = row
        suppressed: frozenset[bytes] = frozenset()
        if row.has_suppressions:
            keys = [key for move in group for key in self._keys(move)]
            suppressed = await policy_store.find_suppressed(connection, tenant_id, keys)
        return row.allowance(suppressed)

    def _keys(self, move: Move) -> list[Key]:
        """Return the suppression keys of a run's person, and of the people just found."""
        hasher, tenant_id = self._inputs.hasher, move.run.lease.tenant_id
        keys = list(move.run.keys(hasher))
        for each in move.happened:
            if isinstance(each, Returned) and isinstance(each.outcome, Answer):
                found = each.outcome.finding
                keys += hasher.of_finding(tenant_id, found) if found else []
        return keys

    def _take(self, move: Move, allowance: TenantAllowance, now: datetime) -> Turn | Exception:
        """Take one run's turn; an error in it is returned, so that it stops no other run's."""
        # A copy: an admission is spent when the turn is committed.
        rules = RunRules(move.run, allowance, self._inputs, dict(move.admitted), now)
        try:
            return take_turn(move.run.state, move.happened, rules, now, random.random)
        except Exception as error:
            return error

    async def _write(
        self,
        connection: Connection,
        tenant_id: UUID,
        turns: Sequence[tuple[Move, Turn]],
        now: datetime,
        version: int | None = None,
    ) -> Mapping[UUID, asyncpg.Record]:
        rows = Rows(now)
        written = [(move.run, turn) for move, turn in turns if not turn.is_empty]
        for run, turn in written:
            rows.add(run, turn)
        if not written:
            return {}
        lease_token = written[0][0].lease.token
        held = await store.save_turns(
            connection, tenant_id, lease_token, self._times, rows.as_json(), version
        )
        ended = [run_id for run_id, row in held.items() if row["ended_in_batch"]]
        if ended:
            for batch_id, user_id in await store.end_batches(connection, tenant_id, ended, now):
                event = announcements.batch_ended(tenant_id, batch_id, user_id, now)
                await outbox.enqueue(connection, tenant_id, [event])
        return held


def _apply(move: Move, turn: Turn, now: datetime, row: asyncpg.Record | None = None) -> None:
    """Update a run in memory to what is written; `row` is what save_turns returned of it."""
    run = move.run
    for attempt in turn.ended_attempts:
        run.reserved.pop(attempt.source, None)
    for begun in turn.begun:
        move.admitted.pop(begun.source, None)
        run.reserved[begun.source] = (begun.permit.reserved_micros, now.date())
    for source, finding in turn.findings.items():
        if finding is None:
            run.findings.pop(source, None)
        else:
            run.findings[source] = finding
    status = run.state.status
    if turn.finish:
        status = turn.finish.status
    elif status is RunStatus.PENDING and not turn.is_empty:
        status = RunStatus.IN_PROGRESS
    cancel = run.state.cancel_requested or bool(row and row["cancel_requested"])
    run.state = replace(run.state, status=status, steps=turn.steps, cancel_requested=cancel)


def _known_allowance(runs: Sequence[LeasedRun]) -> AllowanceRow | None:
    """Return the allowance as last read, where turns may be taken by it.

    Turns of runs that have ended lock prospects, and the allowance is locked before those.
    """
    row = runs[-1].allowance_row
    has_ended = any(run.state.status in RUN_ENDED for run in runs)
    return row if row and row.needs_no_lock and not has_ended else None


def _newest_epochs(group: Sequence[Move]) -> dict[UUID, int]:
    """Return each run's newest lease: a process may lease anew a run that it is still driving."""
    epochs: dict[UUID, int] = {}
    for move in group:
        lease = move.run.lease
        epochs[lease.run_id] = max(lease.epoch, epochs.get(lease.run_id, 0))
    return epochs


def _is_newest(move: Move, epochs: Mapping[UUID, int]) -> bool:
    return move.run.lease.epoch == epochs[move.run.lease.run_id]


def _refused(move: Move) -> Move:
    """Return a move without the answer that cannot be stored."""
    refused = [
        replace(each, outcome=_unstorable(each.outcome))
        if isinstance(each, Returned) and isinstance(each.outcome, Answer)
        else each
        for each in move.happened
    ]
    return replace(move, happened=refused)


def _unstorable(answer: Answer) -> SourceError:
    text = "the answer cannot be stored"
    return SourceError(ErrorClass.INVALID_ANSWER, text, cost_micros=answer.cost_micros)
