"""Claude's case: see case.py."""

from __future__ import annotations

import httpx

from services.enrichment.sources.call import ErrorClass, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.client import Claude
from services.enrichment.sources.findings import Summary
from tests.enrichment.sources.case import ADAMS, KEY, NOW, PAGES, Case, Source


def make(url: str, client: httpx.AsyncClient, seconds: float) -> Source:
    return Claude(url, KEY, "claude-sonnet-5-5", clock=lambda: NOW, seconds=seconds)


CASE = Case(
    SourceName.CLAUDE,
    make,
    SourceCall(ADAMS, PAGES),
    example=lambda where: Summary((), (), "model", where),
    cost=2_000,
    classes={"quota": ErrorClass.QUOTA, "stranger": ErrorClass.INVALID_ANSWER},
)
