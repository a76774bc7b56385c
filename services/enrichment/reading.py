"""GetProspect."""

from __future__ import annotations

from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import tenant_transaction
from chassis.server import Context
from services.enrichment import history, messages
from services.enrichment.tools import Tools, found


class Reading:
    """Reads prospects of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def GetProspect(
        self, request: pb.GetProspectRequest, context: Context
    ) -> pb.GetProspectResponse:
        """Give a prospect with all that was found so far."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            row = await history.get_prospect(connection, tenant_id, UUID(request.prospect_id))
            prospect = found(row, "prospect", request.prospect_id)
            run = await history.get_run(connection, tenant_id, prospect["run_id"])
            _, steps = found(run, "run", prospect["run_id"])
        return pb.GetProspectResponse(prospect=messages.prospect_message(prospect, steps))
