"""The composition root of the enrichment service."""

from __future__ import annotations

import httpx
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api

from chassis.clock import utc_now
from chassis.service import Foundation, Parts, Topology
from services import topology
from services.enrichment import events
from services.enrichment.api import SCOPES, EnrichmentApi, Intake
from services.enrichment.breakers import SourceBreaker
from services.enrichment.execution import Ask, Tools
from services.enrichment.findings import Answer, SourceCall, SourceName
from services.enrichment.settings import Settings
from services.enrichment.sources.claude import Claude
from services.enrichment.sources.contactout import ContactOut, lookups
from services.enrichment.sources.exa import Exa
from services.enrichment.sources.sec_edgar import SecEdgar
from services.enrichment.store import ClaimedRun
from services.enrichment.watch import Watchers
from services.enrichment.worker import Worker

TOPOLOGY = Topology(topology.STREAMS, (topology.ENRICH_REQUESTED,))


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    http = httpx.AsyncClient(timeout=settings.call_timeout_seconds)
    claude = Claude(
        settings.anthropic_url,
        settings.anthropic_api_key.get_secret_value(),
        settings.claude_model,
        clock=utc_now,
    )
    tools = Tools(
        pool=foundation.pool,
        relay=foundation.relay,
        clock=utc_now,
        sources=_sources(settings, http, claude),
        breakers=_breakers(settings),
        ask_paid_again=settings.ask_paid_again,
        call_seconds=settings.call_timeout_seconds,
    )
    worker = Worker(
        tools,
        most_runs=settings.runs_in_hand,
        lease_seconds=settings.lease_seconds,
        drain_seconds=settings.drain_seconds,
    )
    intake = Intake(foundation.pool, worker, utc_now, settings.run_deadline_seconds)
    watchers = Watchers()
    await watchers.listen(foundation.nats)
    api = EnrichmentApi(foundation.pool, intake, watchers, foundation.stopping)
    return Parts(
        add_to=lambda server: grpc_api.add_EnrichmentServiceServicer_to_server(api, server),
        full_name=pb.DESCRIPTOR.services_by_name["EnrichmentService"].full_name,
        scopes=SCOPES,
        handlers=events.handlers(intake),
        loops=(worker.run,),
        close=(http.aclose, claude.close),
    )


def _sources(settings: Settings, http: httpx.AsyncClient, claude: Claude) -> dict[SourceName, Ask]:
    contactout = ContactOut(
        http,
        settings.contactout_url,
        settings.contactout_api_key.get_secret_value(),
        clock=utc_now,
    )
    exa = Exa(http, settings.exa_url, settings.exa_api_key.get_secret_value(), clock=utc_now)
    sec = SecEdgar(
        http,
        settings.sec_data_url,
        settings.sec_archives_url,
        user_agent=settings.sec_user_agent,
        clock=utc_now,
    )

    async def ask_contactout(run: ClaimedRun) -> Answer:
        # One way a run, until the engine walks through them.
        ways = lookups(run.subject)
        if not ways:
            return Answer(None)
        return await contactout.ask(SourceCall(run.subject, run.findings, ways[0]))

    def call_of(run: ClaimedRun) -> SourceCall:
        return SourceCall(run.subject, run.findings)

    return {
        SourceName.CONTACTOUT: ask_contactout,
        SourceName.EXA: lambda run: exa.ask(call_of(run)),
        SourceName.SEC: lambda run: sec.ask(call_of(run)),
        SourceName.CLAUDE: lambda run: claude.ask(call_of(run)),
    }


def _breakers(settings: Settings) -> dict[SourceName, SourceBreaker]:
    return {
        source: SourceBreaker(
            source,
            fail_max=settings.breaker_failures,
            reset_seconds=settings.breaker_reset_seconds,
            clock=utc_now,
        )
        for source in SourceName
    }
