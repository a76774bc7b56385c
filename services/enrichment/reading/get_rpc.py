"""GetProspect and GetRun: a prospect with its findings, a run with its calls."""

from __future__ import annotations

from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import runs_pb2

from chassis.auth import current_caller
from chassis.database import Pool, tenant_transaction
from chassis.errors import found
from chassis.interceptor import Context
from services.enrichment.reading import messages, store


class GetRpc:
    """Reads prospects and runs of the caller's tenant."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def GetProspect(
        self, request: pb.GetProspectRequest, context: Context
    ) -> pb.GetProspectResponse:
        """Return a prospect with its findings so far."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await store.get_prospect(connection, tenant_id, UUID(request.prospect_id))
            prospect = found(row, "prospect", request.prospect_id)
            run = await store.get_run(connection, tenant_id, prospect["run_id"])
            newest, steps = found(run, "run", prospect["run_id"])
        message = messages.prospect_message(prospect, steps, newest["steps"])
        messages.add_findings(message, prospect)
        return pb.GetProspectResponse(prospect=message)

    async def GetRun(
        self, request: runs_pb2.GetRunRequest, context: Context
    ) -> runs_pb2.GetRunResponse:
        """Return a run with every call to a source."""
        tenant_id, run_id = current_caller().tenant_id, UUID(request.run_id)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await store.get_run(connection, tenant_id, run_id)
            run, steps = found(row, "run", request.run_id)
            attempts = await store.list_attempts(connection, tenant_id, run_id)
        return runs_pb2.GetRunResponse(
            run=messages.run_message(run, steps),
            attempts=[messages.attempt_message(each, run["traceparent"]) for each in attempts],
        )
