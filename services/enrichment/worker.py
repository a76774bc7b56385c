"""The worker: claims runs that wait and drives them, as many at once as the settings allow.

It looks once a second, and at once when this process has accepted a run. A run whose worker died is
claimed again when its lease has run out; nobody has to notice the death.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from chassis.clock import new_id
from chassis.database import role_transaction, tenant_transaction
from chassis.errors import AWAY
from services.enrichment import store
from services.enrichment.execution import Execution, Tools
from services.enrichment.store import Lease, LeaseLost

LOOK_SECONDS = 1.0
CLAIMER = "enrichment_claimer"
_log = structlog.get_logger()


class Worker:
    """Drives runs side by side."""

    def __init__(
        self, tools: Tools, *, most_runs: int, lease_seconds: float, drain_seconds: float
    ) -> None:
        self._tools = tools
        self._most_runs = most_runs
        self._lease_seconds = lease_seconds
        self._drain_seconds = drain_seconds
        self._wake = asyncio.Event()
        self._running: dict[UUID, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look soon: a run was accepted, or has ended."""
        self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Claim and drive until told to stop; then let the calls that are out come back."""
        stop = asyncio.create_task(stopping.wait())
        while not stopping.is_set():
            self._wake.clear()
            try:
                await self._claim_waiting(stopping)
            except AWAY as error:
                _log.warning("worker waits", error=repr(error))
            wake = asyncio.create_task(self._wake.wait())
            await asyncio.wait(
                [stop, wake], timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            wake.cancel()
        stop.cancel()
        await self._drain()

    async def _drain(self) -> None:
        """Let calls that are out come back for the grace period, then hand their runs back."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running.values(), timeout=self._drain_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _claim_waiting(self, stopping: asyncio.Event) -> None:
        room = self._most_runs - len(self._running)
        if room <= 0:
            return
        async with role_transaction(self._tools.pool, CLAIMER) as connection:
            waiting = await store.find_waiting(connection, room)
        for tenant_id, run_id in waiting:
            if run_id not in self._running and not stopping.is_set():
                lease = Lease(tenant_id, run_id, new_id(), self._lease_seconds)
                self._running[run_id] = asyncio.create_task(self._drive(lease, stopping))

    async def _drive(self, lease: Lease, stopping: asyncio.Event) -> None:
        """Drive one run; whatever goes wrong, its lease runs out and it is taken up again."""
        try:
            async with tenant_transaction(self._tools.pool, lease.tenant_id) as connection:
                run = await store.claim(connection, lease)
            if run:
                await Execution(run, self._tools, stopping).drive()
        except LeaseLost:
            _log.info("lease lost", run=str(lease.run_id))
        except AWAY as error:
            _log.warning("run waits", run=str(lease.run_id), error=repr(error))
        except Exception:
            _log.exception("run failed", run=str(lease.run_id))
        finally:
            del self._running[lease.run_id]
            self.wake()
