"""Messages that ask for enrichments, parsed into the intake's requests."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import asyncpg
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import events_pb2

from chassis.auth import Caller
from chassis.clock import new_id
from chassis.errors import InvalidArgument
from services.enrichment.run import records
from services.enrichment.run.plan import Priority, Request
from services.enrichment.run.state import CLAUDE
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Person
from services.enrichment.sources.identity import profile_address, profile_slug


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
        person=person_of(message),
        sent=_as_sent(message),
        request_id=UUID(own_id) if own_id else request_id,
        force=message.force,
        priority=Priority(message.priority) if message.priority else default,
        budget_micros=message.budget_micros,
        sources=tuple(SourceName(name) for name in message.sources),
    )


def person_of(message: pb.RequestEnrichmentRequest | events_pb2.EnrichmentRequested) -> Person:
    """Return the person whom a request is about, with the profile's address in its usual form.

    Refuse a blank name or company, and an address that names no profile.
    """
    for field, text in (("name", message.name), ("company", message.company)):
        if not text.strip():
            raise InvalidArgument.field(field, "string.not_blank", "must not be blank")
    sent = _as_sent(message)
    if sent.linkedin_url and not profile_slug(sent.linkedin_url):
        text = "must be the address of a LinkedIn profile, with /in/ or /pub/"
        raise InvalidArgument.field("linkedin_url", "string.linkedin_profile", text)
    return replace(sent, linkedin_url=profile_address(sent.linkedin_url))


def _as_sent(message: pb.RequestEnrichmentRequest | events_pb2.EnrichmentRequested) -> Person:
    return Person(
        name=message.name,
        company=message.company,
        title=message.title,
        email=message.email,
        linkedin_url=message.linkedin_url,
        is_public_company=message.is_public_company,
        company_cik=int(message.company_cik) if message.company_cik else None,
    )


def ask_again(caller: Caller, prospect: asyncpg.Record, sources: list[SourceName]) -> Request:
    """Return the request that asks these sources again, and Claude for a new summary."""
    return Request(
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        prospect_id=prospect["prospect_id"],
        person=records.person_of(prospect),
        sources=tuple({**dict.fromkeys(sources), CLAUDE: None}),
    )
