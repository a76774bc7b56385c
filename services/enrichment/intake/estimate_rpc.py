"""EstimateEnrichment: what a request would do and cost, before anything is spent or written."""

from __future__ import annotations

from uuid import UUID

import asyncpg
from prospect.enrichment.v1 import operations_pb2 as pb

from chassis.auth import Caller, current_caller
from chassis.clock import new_id, to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.errors import NotFound
from chassis.interceptor import Context
from services.enrichment.availability.breaker import Breakers
from services.enrichment.intake.estimator import Estimate, Estimator
from services.enrichment.run import records
from services.enrichment.run.plan import Request
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Person
from services.enrichment.sources.identity import profile_address
from services.enrichment.sql import SQL


class EstimateRpc:
    """Estimates requests of the caller's tenant."""

    def __init__(self, pool: Pool, breakers: Breakers, estimator: Estimator) -> None:
        self._pool = pool
        self._breakers = breakers
        self._estimator = estimator

    async def EstimateEnrichment(
        self, request: pb.EstimateEnrichmentRequest, context: Context
    ) -> pb.EstimateEnrichmentResponse:
        """Return which calls would be made, reused or denied."""
        caller = current_caller()
        asked = {UUID(each.prospect_id) if each.prospect_id else new_id(): each
                 for each in request.prospects}  # fmt: skip
        async with tenant_transaction(self._pool, caller.tenant_id) as connection:
            rows = await connection.fetch(SQL.read_known, caller.tenant_id, list(asked))
            known = {row["prospect_id"]: row for row in rows}
            flying = {key for key, row in known.items() if row["in_flight"]}
            wanted = [
                (_request(caller, key, each, known.get(key), request.force), known.get(key))
                for key, each in asked.items()
                if key not in flying
            ]
            found = await self._estimator.estimate(connection, caller.tenant_id, wanted)
        return pb.EstimateEnrichmentResponse(
            sources=[self._source(source, found) for source in SourceName],
            most_cost_micros=found.max_cost_micros,
            left_today_micros=found.left_today_micros,
            in_flight=len(flying),
        )

    def _source(self, source: SourceName, found: Estimate) -> pb.SourceEstimate:
        tally, held = found.tallies[source], self._breakers.denial(source)
        stopped = "the tenant's kill switch is on" if found.policy.is_stopped else ""
        return pb.SourceEstimate(
            source=source.value,
            calls=tally.calls,
            fresh=tally.fresh,
            skipped=tally.skipped,
            suppressed=tally.suppressed,
            budget_denied=tally.budget_denied,
            parked_until=to_timestamp(held.until) if held else None,
            parked_reason=held.reason if held else stopped,
            most_cost_micros=tally.max_cost_micros,
        )


def _request(
    caller: Caller,
    prospect_id: UUID,
    message: pb.EstimatedProspect,
    known: asyncpg.Record | None,
    force: bool,
) -> Request:
    """Return what would be requested; of a known prospect the id is enough."""
    told = message.name or message.company
    if not (told or known):
        text = f"there is no prospect {prospect_id}: name somebody"
        raise NotFound(text, reason="PROSPECT_NOT_FOUND")
    return Request(
        tenant_id=caller.tenant_id,
        user_id=caller.user_id,
        prospect_id=prospect_id,
        person=_person(message) if told or not known else records.person_of(known),
        force=force,
    )


def _person(message: pb.EstimatedProspect) -> Person:
    return Person(
        name=message.name,
        company=message.company,
        email=message.email,
        linkedin_url=profile_address(message.linkedin_url),
        is_public_company=message.is_public_company,
        company_cik=int(message.company_cik) if message.company_cik else None,
    )
