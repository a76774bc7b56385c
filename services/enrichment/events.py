"""What the enrichment service does with events: a request on NATS is taken in like an RPC."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prospect.enrichment.v1 import events_pb2

from chassis.consumer import Handler, IncomingEvent
from services import topology
from services.enrichment.intake import Intake
from services.enrichment.requesting import request_of


def handlers(intake: Intake) -> Sequence[Handler[events_pb2.EnrichmentRequested]]:
    """Return the handlers, one a consumer."""

    async def request(event: IncomingEvent[events_pb2.EnrichmentRequested]) -> None:
        """Accept a run; the event's id is its request id, so that a repeat finds the same run."""
        message = event.message
        tenant_id, user_id = UUID(message.tenant_id), UUID(message.user_id)
        await intake.accept(request_of(message, tenant_id, user_id, request_id=event.event_id))

    return (Handler(topology.ENRICH_REQUESTED, events_pb2.EnrichmentRequested, request),)
