"""The composition root of the enrichment service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import httpx
from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis.clock import utc_now
from chassis.service import Foundation, Parts, Topology
from services import topology
from services.enrichment import events
from services.enrichment.api import rpcs
from services.enrichment.availability.breaker import Breakers
from services.enrichment.availability.rate import Limits
from services.enrichment.erasure.history_keeper import Keeper
from services.enrichment.intake.intake import Intake
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Hasher
from services.enrichment.reading.wakeups import Watchers
from services.enrichment.settings import Settings
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.client import Claude, memo_key
from services.enrichment.sources.claude.template import templated
from services.enrichment.sources.contactout import ContactOut
from services.enrichment.sources.edgar.client import SecEdgar
from services.enrichment.sources.exa import Exa
from services.enrichment.sources.http import certificates
from services.enrichment.tools import Tools
from services.enrichment.worker.execution import Ask
from services.enrichment.worker.execution import Tools as WorkTools
from services.enrichment.worker.hints import Hints
from services.enrichment.worker.loop import Worker
from services.enrichment.worker.run_rules import Desk
from services.enrichment.worker.store import Times
from services.enrichment.worker.turn_writer import Writer

TOPOLOGY = Topology(topology.STREAMS, (topology.ENRICH_REQUESTED, topology.ENRICHMENT_ERASED))


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    clients = [_client(settings) for _ in range(3)]
    claude = Claude(
        settings.anthropic_url,
        settings.anthropic_api_key.get_secret_value(),
        settings.claude_model,
        clock=utc_now,
    )
    default = Policy(
        ask_paid_again=settings.ask_paid_again, most_runs_at_once=settings.tenant_runs_in_hand
    )
    desk = _desk(foundation, settings)
    limits = desk.limits
    worker = _worker(
        foundation, settings, desk, default, _sources(settings, clients, claude, limits)
    )
    hints = Hints(foundation.nats)

    async def wake() -> None:
        worker.wake()
        await hints.work()

    def refresh() -> None:
        refreshing.append(asyncio.ensure_future(desk.breakers.refresh()))
        refreshing[:] = [each for each in refreshing if not each.done()]

    refreshing: list[asyncio.Future[None]] = []
    await desk.breakers.refresh()
    await hints.listen(worker.wake, worker.cancel_run, refresh)
    await hints.listen_to_callers(worker.ask_again, worker.forget_user)
    intake = Intake(foundation.pool, utc_now, default, desk.hasher, worker, wake)
    watchers = Watchers()
    await watchers.listen(foundation.nats)
    tools = Tools(
        pool=foundation.pool,
        relay=foundation.relay,
        clock=utc_now,
        intake=intake,
        hints=hints,
        watchers=watchers,
        breakers=desk.breakers,
        hasher=desk.hasher,
        default=default,
        rates=_rates(settings),
        stopping=foundation.stopping,
    )
    return Parts(
        service=pb.DESCRIPTOR.services_by_name["EnrichmentService"],
        rpcs=rpcs(tools),
        handlers=events.handlers(foundation.pool, intake, hints),
        loops=(
            worker.run,
            Keeper(foundation.pool, timedelta(days=settings.history_days), utc_now).run,
        ),
        close=(*(client.aclose for client in clients), claude.close),
    )


def _desk(foundation: Foundation, settings: Settings) -> Desk:
    return Desk(
        breakers=Breakers(
            foundation.pool,
            foundation.relay,
            fail_max=settings.breaker_failures,
            reset_seconds=settings.breaker_reset_seconds,
            clock=utc_now,
        ),
        limits=Limits(foundation.pool, _rates(settings)),
        hasher=Hasher(settings.suppression_key.get_secret_value().encode()),
        memo_key=lambda findings: memo_key(findings, settings.claude_model),
        template=lambda findings: templated(findings, utc_now()),
    )


def _worker(
    foundation: Foundation,
    settings: Settings,
    desk: Desk,
    default: Policy,
    sources: dict[SourceName, Ask],
) -> Worker:
    times = Times(
        lease=timedelta(seconds=settings.lease_seconds),
        deadline=timedelta(seconds=settings.run_deadline_seconds),
        late=timedelta(seconds=settings.late_seconds),
    )
    tools = WorkTools(
        pool=foundation.pool,
        clock=utc_now,
        desk=desk,
        writer=Writer(foundation.pool, foundation.relay, desk, times, default, utc_now),
        sources=sources,
        call_seconds=settings.call_timeout_seconds,
    )
    return Worker(
        tools,
        times,
        most_runs=settings.runs_in_hand,
        cap=default.most_runs_at_once,
        drain_seconds=settings.drain_seconds,
    )


def _client(settings: Settings) -> httpx.AsyncClient:
    """Return a source's own client: one that hangs must not take the others' connections.

    How many calls are out is bounded by the source's rate and their timeout. A pool that makes them
    wait searches all that wait at every change: 2,000 stopped the process for seconds.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncClient(
        timeout=settings.call_timeout_seconds, limits=limits, verify=certificates()
    )


def _sources(
    settings: Settings, clients: Sequence[httpx.AsyncClient], claude: Claude, limits: Limits
) -> dict[SourceName, Ask]:
    for_contactout, for_exa, for_sec = clients
    contactout = ContactOut(
        for_contactout,
        settings.contactout_url,
        settings.contactout_api_key.get_secret_value(),
        clock=utc_now,
    )
    exa = Exa(for_exa, settings.exa_url, settings.exa_api_key.get_secret_value(), clock=utc_now)

    async def pace() -> None:
        await limits.wait(SourceName.SEC)

    sec = SecEdgar(
        for_sec,
        settings.sec_data_url,
        settings.sec_archives_url,
        user_agent=settings.sec_user_agent,
        max_filings=settings.sec_filings,
        clock=utc_now,
        pace=pace,
    )
    return {
        SourceName.CONTACTOUT: contactout.ask,
        SourceName.EXA: exa.ask,
        SourceName.SEC: sec.ask,
        SourceName.CLAUDE: claude.ask,
    }


def _rates(settings: Settings) -> dict[SourceName, float]:
    return {
        SourceName.CONTACTOUT: settings.contactout_calls_per_second,
        SourceName.EXA: settings.exa_calls_per_second,
        SourceName.SEC: settings.sec_calls_per_second,
        SourceName.CLAUDE: settings.claude_calls_per_second,
    }
