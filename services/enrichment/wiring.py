"""The composition root of the enrichment service."""

from __future__ import annotations

from pathlib import Path

import httpx
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from pydantic import Field, SecretStr

from chassis.clock import utc_now
from chassis.service import Foundation, Parts, Topology
from chassis.settings import ServiceSettings
from services import topology
from services.enrichment import events
from services.enrichment.api import SCOPES, EnrichmentApi, Intake
from services.enrichment.breakers import SourceBreaker
from services.enrichment.execution import Ask, Tools
from services.enrichment.facts import facts_of
from services.enrichment.findings import Answer, SourceName
from services.enrichment.sources.claude import Claude
from services.enrichment.sources.contactout import ContactOut
from services.enrichment.sources.exa import Exa
from services.enrichment.sources.sec_edgar import SecEdgar
from services.enrichment.store import ClaimedRun
from services.enrichment.watch import Watchers
from services.enrichment.worker import Worker

FOLDER = Path(__file__).parent
TOPOLOGY = Topology(topology.STREAMS, (topology.ENRICH_REQUESTED,))


class Settings(ServiceSettings):
    """What the enrichment service reads beside the common settings."""

    contactout_url: str = Field("https://api.contactout.com", description="ContactOut (enrichment)")
    contactout_api_key: SecretStr = Field(description="ContactOut's key (enrichment)")
    exa_url: str = Field("https://api.exa.ai", description="Exa (enrichment)")
    exa_api_key: SecretStr = Field(description="Exa's key (enrichment)")
    sec_data_url: str = Field("https://data.sec.gov", description="SEC submissions (enrichment)")
    sec_archives_url: str = Field("https://www.sec.gov", description="SEC filings (enrichment)")
    sec_user_agent: str = Field(
        description="company and e-mail that the SEC may write to, which it demands (enrichment)"
    )
    anthropic_url: str = Field("https://api.anthropic.com", description="Claude (enrichment)")
    anthropic_api_key: SecretStr = Field(description="Claude's key (enrichment)")
    claude_model: str = Field("claude-sonnet-5-5", description="model id (enrichment)")
    run_deadline_seconds: float = Field(
        120, gt=0, description="a run ends by then with what it has (enrichment)"
    )
    call_timeout_seconds: float = Field(
        30, gt=0, description="longest that one source is waited for (enrichment)"
    )
    lease_seconds: float = Field(
        10, gt=0, description="a dead worker's runs are taken over after this (enrichment)"
    )
    runs_in_hand: int = Field(64, ge=1, description="runs driven at once (enrichment)")
    breaker_failures: int = Field(
        5, ge=1, description="failures in a row that open a source's breaker (enrichment)"
    )
    breaker_reset_seconds: float = Field(
        20, gt=0, description="how long an open breaker leaves a source alone (enrichment)"
    )
    ask_paid_again: bool = Field(
        False,
        description="ask a paid source once more when a crash lost its reply, at the risk of "
        "paying twice (enrichment)",
    )


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

    async def summarise(run: ClaimedRun) -> Answer:
        return await claude.summarise(run.subject, facts_of(run.findings))

    return {
        SourceName.CONTACTOUT: lambda run: contactout.fetch(run.subject),
        SourceName.EXA: lambda run: exa.fetch(run.subject),
        SourceName.SEC: lambda run: sec.fetch(run.subject),
        SourceName.CLAUDE: summarise,
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
