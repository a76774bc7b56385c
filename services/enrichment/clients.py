"""The sources' clients, as the settings say where the sources are and with which keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from chassis.clock import Clock
from services.enrichment.settings import SourceSettings
from services.enrichment.sources.catalogue import RESEARCH, SourceName
from services.enrichment.sources.claude.client import Claude
from services.enrichment.sources.contactout import ContactOut
from services.enrichment.sources.edgar.client import SecEdgar
from services.enrichment.sources.exa import Exa
from services.enrichment.sources.http import certificates
from services.enrichment.worker.execution import Ask


@dataclass(frozen=True, slots=True)
class Clients:
    """What asks each source, and what closes their connections."""

    asks: Mapping[SourceName, Ask]
    close: Sequence[Callable[[], Awaitable[None]]]


def open_clients(
    settings: SourceSettings, pace: Callable[[], Awaitable[None]], clock: Clock
) -> Clients:
    """Make a client for every source; `pace` is awaited before each request to the SEC."""
    connections = {name: _connections(settings) for name in RESEARCH}
    claude = Claude(
        settings.anthropic_url,
        settings.anthropic_api_key.get_secret_value(),
        settings.claude_model,
        clock=clock,
    )
    asks: dict[SourceName, Ask] = {
        SourceName.CONTACTOUT: ContactOut(
            connections[SourceName.CONTACTOUT],
            settings.contactout_url,
            settings.contactout_api_key.get_secret_value(),
            clock=clock,
        ).ask,
        SourceName.EXA: Exa(
            connections[SourceName.EXA],
            settings.exa_url,
            settings.exa_api_key.get_secret_value(),
            clock=clock,
        ).ask,
        SourceName.SEC: SecEdgar(
            connections[SourceName.SEC],
            settings.sec_data_url,
            settings.sec_archives_url,
            user_agent=settings.sec_user_agent,
            max_filings=settings.sec_filings,
            days=settings.sec_days,
            clock=clock,
            pace=pace,
        ).ask,
        SourceName.CLAUDE: claude.ask,
    }
    return Clients(asks, (*(each.aclose for each in connections.values()), claude.close))


def _connections(settings: SourceSettings) -> httpx.AsyncClient:
    """Return a source's own connections: one that hangs must not take the others'.

    How many calls are out is bounded by the source's rate and their timeout. A pool that makes them
    wait searches all that wait at every change: 2,000 stopped the process for seconds.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncClient(
        timeout=settings.call_timeout_seconds, limits=limits, verify=certificates()
    )
