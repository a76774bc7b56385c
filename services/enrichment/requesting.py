"""RequestEnrichment: takes a request in and answers after COMMIT."""

from __future__ import annotations

from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import events_pb2

from chassis.auth import current_caller
from chassis.clock import new_id
from chassis.errors import InvalidArgument
from chassis.server import Context
from services.enrichment.request import Priority, Request
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Subject
from services.enrichment.tools import Tools, storable


class Requesting:
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


def request_of(
    message: pb.RequestEnrichmentRequest | events_pb2.EnrichmentRequested,
    tenant_id: UUID,
    user_id: UUID,
    *,
    request_id: UUID | None = None,
    default: Priority = Priority.NORMAL,
) -> Request:
    """Return a message as a request; `request_id` stands in where it has none."""
    own_id = getattr(message, "request_id", "")
    return Request(
        tenant_id=tenant_id,
        user_id=user_id,
        prospect_id=UUID(message.prospect_id) if message.prospect_id else new_id(),
        is_new=not message.prospect_id,
        subject=subject_of(message),
        request_id=UUID(own_id) if own_id else request_id,
        force=message.force,
        priority=Priority(message.priority) if message.priority else default,
        budget_micros=message.budget_micros,
        sources=tuple(SourceName(name) for name in message.sources),
    )


def subject_of(message: pb.RequestEnrichmentRequest | events_pb2.EnrichmentRequested) -> Subject:
    """Return whom a request is about, refusing what names nobody and what Postgres cannot hold."""
    for field, text in (("name", message.name), ("company", message.company)):
        if not text.strip():
            raise InvalidArgument.field(field, "string.not_blank", "must not be blank")
    for field in ("name", "company", "title", "email", "linkedin_url"):
        storable(field, getattr(message, field))
    return Subject(
        name=message.name,
        company=message.company,
        title=message.title,
        email=message.email,
        linkedin_url=message.linkedin_url,
        is_public_company=message.is_public_company,
        company_cik=int(message.company_cik) if message.company_cik else None,
    )
