"""Exa's case: see case.py."""

from __future__ import annotations

import httpx

from services.enrichment.sources.call import ErrorClass, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.exa import Exa
from services.enrichment.sources.findings import WebFindings
from tests.enrichment.sources.case import ADAMS, KEY, NOW, Case, Source


def make(url: str, client: httpx.AsyncClient, seconds: float) -> Source:
    return Exa(client, url, KEY, clock=lambda: NOW, seconds=seconds)


CASE = Case(
    SourceName.EXA,
    make,
    SourceCall(ADAMS, {}),
    example=lambda where: WebFindings((), where),
    cost=7_000,
    classes={"quota": ErrorClass.QUOTA, "stranger": None},
)
