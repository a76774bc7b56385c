"""RequestEnrichment: accepts a request and answers after COMMIT."""

from __future__ import annotations

from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import Pool
from chassis.interceptor import Context
from services.enrichment.intake.intake import Intake
from services.enrichment.intake.parse import request_of
from services.enrichment.reading.store import run_message


class RequestRpc:
    """Accepts requests of the caller's tenant."""

    def __init__(self, pool: Pool, intake: Intake) -> None:
        self._pool = pool
        self._intake = intake

    async def RequestEnrichment(
        self, request: pb.RequestEnrichmentRequest, context: Context
    ) -> pb.RequestEnrichmentResponse:
        """Accept a prospect to research."""
        caller = current_caller()
        wanted = request_of(request, caller.tenant_id, caller.user_id)
        accepted = await self._intake.accept(wanted)
        run = await run_message(self._pool, caller.tenant_id, accepted.run_id)
        return pb.RequestEnrichmentResponse(run=run, joined=accepted.joined)
