"""The worker: leases runs that are due, by fair queueing, and drives as many at once as it may.

It looks once a second, and at once when told that there is something (a hint on NATS, or this
process itself). Where it has room and nothing waits, a run begins in the transaction that takes it
in. A run whose worker died is leased again when its lease has run out; nobody has to notice the
death.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from chassis.clock import Clock, new_id
from chassis.database import Connection, Pool, role_transaction, tenant_transaction
from chassis.loops import sleep
from chassis.transient import TRANSIENT
from services.enrichment import sql
from services.enrichment.availability.breaker import Breakers
from services.enrichment.gauges import RUNS_IN_HAND
from services.enrichment.policy.allowance import AllowanceRow
from services.enrichment.policy.policy import Policy
from services.enrichment.run.plan import NewRun
from services.enrichment.run.state import Turn
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker import store
from services.enrichment.worker.execution import Execution
from services.enrichment.worker.store import Lease, LeasedRun, LeaseLost, Times

LOOK_SECONDS = 1.0
MAX_BEGUN_AT_ONCE = 8
"""More new runs than this are left to the workers, which keep the order between tenants."""
CLAIMER = "enrichment_claimer"
_log = structlog.get_logger()


class Worker:
    """Drives runs side by side."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        breakers: Breakers,
        execute: Callable[[LeasedRun, asyncio.Event], Execution],
        times: Times,
        *,
        max_runs: int,
        default: Policy,
        drain_seconds: float,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._breakers = breakers
        self._execute = execute
        self._times = times
        self._max_runs = max_runs
        self._default = default
        self._drain_seconds = drain_seconds
        self._lease_token = new_id()
        self._wake = asyncio.Event()
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._executions: dict[UUID, Execution] = {}
        self._leases: dict[UUID, Lease] = {}
        self._stopping: asyncio.Event | None = None
        self._nobody_waits = False
        self._renewed_at = clock()

    def wake(self) -> None:
        """Look soon: a run was accepted, or has ended."""
        self._wake.set()

    def cancel_run(self, run_id: UUID) -> None:
        """Have a run that this worker drives take a turn now: it is to be cancelled."""
        execution = self._executions.get(run_id)
        if execution:
            execution.cancel_run()

    def ask_again(self, run_id: UUID, source: SourceName) -> None:
        """Ask a source that a run of this worker waits for."""
        execution = self._executions.get(run_id)
        if execution:
            execution.ask_again(source)

    def forget_user(self, user_id: UUID) -> None:
        """Name an erased user in no later event of the runs that this worker drives."""
        for execution in self._executions.values():
            execution.forget_user(user_id)

    async def run(self, stopping: asyncio.Event) -> None:
        """Lease and drive runs until told to stop; then let the calls that are out come back."""
        self._stopping = stopping
        renewing = asyncio.create_task(self._renew_forever())
        try:
            while not stopping.is_set():
                self._wake.clear()
                more = await self._try_lease()
                if more:
                    await asyncio.sleep(0)
                    continue
                await sleep(LOOK_SECONDS, stopping, self._wake)
            for execution in self._executions.values():
                execution.look()
            await self._drain()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def lease_new(
        self,
        connection: Connection,
        tenant_id: UUID,
        made: Sequence[NewRun],
        allowance: AllowanceRow,
    ) -> list[LeasedRun]:
        """Lease new runs to this worker where it is free and nobody waits; else return none.

        `allowance` is the tenant's as this transaction has read it. The runs are to be written with
        their leases in the same transaction, and driven once it is committed.
        """
        if not self._may_begin(made, allowance.policy):
            return []
        await self._breakers.renew(connection)
        cap = allowance.policy.most_runs_at_once
        if not await store.has_room(connection, tenant_id, len(made), cap):
            return []
        order, now = allowance.policy.contact_lookups, self._clock()
        return await store.take_new(
            connection, tenant_id, made, self._lease_token, order, self._times, now
        )

    def drive(self, begun: Sequence[tuple[LeasedRun, Turn]]) -> None:
        """Drive runs that have begun and are committed."""
        for run, turn in begun:
            if turn.open:
                self._start(run, turn)

    def _may_begin(self, made: Sequence[NewRun], policy: Policy) -> bool:
        working = self._stopping is not None and not self._stopping.is_set()
        room = min(self._max_runs - len(self._running), MAX_BEGUN_AT_ONCE)
        # A day's budget is locked before prospects, which this transaction has locked already.
        at_once = not (policy.has_day_budget or policy.debounce_seconds)
        plain = all(new.batch_id is None and not (new.known and new.known.late) for new in made)
        return working and self._nobody_waits and len(made) <= room and at_once and plain

    async def _drain(self) -> None:
        """Let calls that are out come back for the grace period, then hand their runs back."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running.values(), timeout=self._drain_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _try_lease(self) -> bool:
        """Lease what is due; return whether there may be more."""
        try:
            return await self._lease()
        except TRANSIENT as error:
            _log.warning("worker waits", error=repr(error))
        except Exception:
            _log.exception("leasing failed")
        return False

    async def _lease(self) -> bool:
        room = self._max_runs - len(self._running)
        self._nobody_waits = False  # until this look says so again
        if room <= 0:
            return False
        # A lease that a crash of Postgres undoes fails at its first turn, which is durable.
        async with role_transaction(self._pool, CLAIMER, durable=False) as connection:
            await self._breakers.renew(connection)
            if self._leases and self._clock() - self._renewed_at > self._times.lease / 2:
                # Else it would lease its own runs anew, and drop what their calls have brought.
                await self._renew(connection, list(self._leases.values()))
            leases, others = await store.lease_due(
                connection, room, self._lease_token, self._times, self._default
            )
        by_tenant: dict[UUID, list[Lease]] = defaultdict(list)
        for lease in leases:
            by_tenant[lease.tenant_id].append(lease)
        await asyncio.gather(
            *(self._take_up(tenant_id, mine) for tenant_id, mine in by_tenant.items())
        )
        self._nobody_waits = not others
        return len(leases) == room

    async def _take_up(self, tenant_id: UUID, leases: Sequence[Lease]) -> None:
        now = self._clock()
        async with tenant_transaction(self._pool, tenant_id, plans=sql.GENERIC) as connection:
            runs = await store.load_runs(connection, tenant_id, leases, self._times, now)
        for run in runs:
            run_id = run.lease.run_id
            before = self._running.get(run_id)
            if before:  # our own lease ran out while this process could not renew it
                before.cancel()
                await asyncio.gather(before, return_exceptions=True)
            self._start(run)

    def _start(self, run: LeasedRun, first: Turn | None = None) -> None:
        assert self._stopping is not None  # noqa: S101 -- only a worker that runs has leases
        run_id = run.lease.run_id
        self._leases[run_id] = run.lease
        RUNS_IN_HAND.set(len(self._leases))
        self._executions[run_id] = execution = self._execute(run, self._stopping)
        self._running[run_id] = asyncio.create_task(self._drive(run, execution, first))

    async def _drive(self, run: LeasedRun, execution: Execution, first: Turn | None) -> None:
        """Drive one run; after any failure its lease expires and a worker leases it again."""
        run_id = run.lease.run_id
        try:
            await execution.drive(first)
        except LeaseLost:
            _log.info("lease lost", run=str(run_id))
        except TRANSIENT as error:
            _log.warning("run waits", run=str(run_id), error=repr(error))
        except Exception:
            _log.exception("run failed", run=str(run_id))
        finally:
            if self._leases.get(run_id) is run.lease:
                del self._running[run_id], self._leases[run_id], self._executions[run_id]
                RUNS_IN_HAND.set(len(self._leases))
            if not self._nobody_waits:  # its room, or its tenant's, is for the next
                self.wake()

    async def _renew_forever(self) -> None:
        """Renew every lease well before it expires; stop driving runs whose lease is lost."""
        while True:
            await asyncio.sleep(self._times.lease.total_seconds() / 3)
            leases = list(self._leases.values())
            if not leases:
                continue
            try:
                async with role_transaction(self._pool, CLAIMER, durable=False) as connection:
                    held = await self._renew(connection, leases)
            except TRANSIENT as error:
                _log.warning("leases not renewed", error=repr(error))
                continue
            except Exception:
                _log.exception("renewing failed")
                continue
            self._let_go(leases, held)

    async def _renew(self, connection: Connection, leases: Sequence[Lease]) -> dict[UUID, bool]:
        held = await store.renew(connection, self._lease_token, self._times, leases)
        self._renewed_at = self._clock()
        return held

    def _let_go(self, leases: Sequence[Lease], held: dict[UUID, bool]) -> None:
        for lease in leases:
            running = self._running.get(lease.run_id)
            if self._leases.get(lease.run_id) is not lease or running is None:
                continue  # ended, or leased anew, meanwhile
            if lease.run_id not in held:
                _log.info("lease lost", run=str(lease.run_id))
                running.cancel()
            elif held[lease.run_id]:
                self.cancel_run(lease.run_id)
