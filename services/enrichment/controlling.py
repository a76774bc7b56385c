"""CancelRun."""

from __future__ import annotations

from uuid import UUID

from prospect.enrichment.v1 import runs_pb2 as pb

from chassis.auth import current_caller
from chassis.database import tenant_transaction
from chassis.server import Context
from services.enrichment.store import SQL
from services.enrichment.tools import Tools


class Controlling:
    """Steers runs of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def CancelRun(
        self, request: pb.CancelRunRequest, context: Context
    ) -> pb.CancelRunResponse:
        """End a run; a call that is out is waited for."""
        tenant_id, run_id = current_caller().tenant_id, UUID(request.run_id)
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            await connection.execute(SQL.request_cancel, tenant_id, run_id, self._tools.clock())
        await self._tools.hints.cancel(run_id)
        await self._tools.hints.work()
        run = await self._tools.run_message(tenant_id, run_id)
        return pb.CancelRunResponse(run=run)
