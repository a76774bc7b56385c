"""RequestEnrichment: takes a request in and answers after COMMIT."""

from __future__ import annotations

from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis.auth import current_caller
from chassis.interceptor import Context
from services.enrichment.intake.parse import request_of
from services.enrichment.tools import Tools


class RequestRpc:
    """Takes requests of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def RequestEnrichment(
        self, request: pb.RequestEnrichmentRequest, context: Context
    ) -> pb.RequestEnrichmentResponse:
        """Accept a prospect to research."""
        caller = current_caller()
        wanted = request_of(request, caller.tenant_id, caller.user_id)
        accepted = await self._tools.intake.accept(wanted)
        run = await self._tools.run_message(caller.tenant_id, accepted.run_id)
        return pb.RequestEnrichmentResponse(run=run, joined=accepted.joined)
