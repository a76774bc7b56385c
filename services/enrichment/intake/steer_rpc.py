"""CancelRun and RetrySource: steer a run that is under way."""

from __future__ import annotations

from uuid import UUID

from prospect.enrichment.v1 import runs_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock
from chassis.database import Connection, Pool, tenant_transaction
from chassis.errors import FailedPrecondition, found
from chassis.interceptor import Context
from services.enrichment.intake.intake import Intake
from services.enrichment.intake.parse import ask_again
from services.enrichment.reading import store
from services.enrichment.run.state import CLAUDE
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sql import SQL
from services.enrichment.worker.hints import Hints


class SteerRpc:
    """Steers runs of the caller's tenant."""

    def __init__(self, pool: Pool, clock: Clock, intake: Intake, hints: Hints) -> None:
        self._pool = pool
        self._clock = clock
        self._intake = intake
        self._hints = hints

    async def CancelRun(
        self, request: pb.CancelRunRequest, context: Context
    ) -> pb.CancelRunResponse:
        """Cancel a run; it ends when the call that is out has returned."""
        tenant_id, run_id = current_caller().tenant_id, UUID(request.run_id)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            now = self._clock()
            cancelled = await connection.fetchval(SQL.request_cancel, tenant_id, run_id, now)
        if cancelled:  # a hint knows no tenants: none goes out for a run of another tenant
            await self._hints.cancel(run_id)
            await self._hints.work()
        run = await store.run_message(self._pool, tenant_id, run_id)
        return pb.CancelRunResponse(run=run)

    async def RetrySource(
        self, request: pb.RetrySourceRequest, context: Context
    ) -> pb.RetrySourceResponse:
        """Ask a source again: in the run under way if the source waits there, else in a new run."""
        caller, source = current_caller(), SourceName(request.source)
        tenant_id, prospect_id = caller.tenant_id, UUID(request.prospect_id)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await connection.fetchrow(SQL.lock_prospects, tenant_id, [prospect_id])
            prospect = found(row, "prospect", request.prospect_id)
            runs = await connection.fetch(SQL.find_open_runs, tenant_id, [prospect_id])
            flying = next((run for run in runs if not run["has_ended"]), None)
            if flying:
                await self._hurry(connection, tenant_id, flying["run_id"], source)
            elif source is CLAUDE:
                await connection.execute(SQL.forget_memo, tenant_id, prospect_id)
        if flying:
            run_id = flying["run_id"]
            await self._hints.again(run_id, source)
            await self._hints.work()
        else:
            wanted = ask_again(caller, prospect, [source])
            run_id = (await self._intake.accept(wanted)).run_id
        return pb.RetrySourceResponse(run=await store.run_message(self._pool, tenant_id, run_id))

    async def _hurry(
        self, connection: Connection, tenant_id: UUID, run_id: UUID, source: SourceName
    ) -> None:
        _, steps = found(await store.get_run(connection, tenant_id, run_id), "run", run_id)
        step = steps.get(source)  # an older version's run has none of a new source
        if step is None or step.ended:
            is_so = f"is {step.status.value}" if step else "has no step that this version knows"
            text = (
                f"{source.value} {is_so} in run {run_id}, which is still "
                "under way; retry when the run has ended"
            )
            raise FailedPrecondition(text, reason="STEP_NOT_OPEN", metadata={"run_id": str(run_id)})
        now = self._clock()
        await connection.execute(SQL.hurry_step, tenant_id, run_id, source.value, now)
