"""The SEC's case: see case.py."""

from __future__ import annotations

import httpx

from services.enrichment.sources.call import ErrorClass, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.edgar.client import SecEdgar
from services.enrichment.sources.findings import InsiderTrades
from tests.enrichment.sources.case import ADAMS, NOW, Case, Source
from tests.enrichment.sources.serving import PACE


def make(url: str, client: httpx.AsyncClient, seconds: float) -> Source:
    return SecEdgar(
        client,
        url,
        url,
        user_agent="Prospect tests (tests@prospect.example)",
        clock=lambda: NOW,
        pace=PACE.wait,
        seconds=seconds,
    )


CASE = Case(
    SourceName.SEC,
    make,
    SourceCall(ADAMS, {}),
    example=lambda where: InsiderTrades(320193, "Analytical Engines", 0, (), where),
    cost=0,
    calls=2,
    classes={
        "401": ErrorClass.REFUSED_REQUEST,  # it knows no keys
        "403": ErrorClass.THROTTLED,
        "stranger": None,
    },
)
