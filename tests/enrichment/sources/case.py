"""A source's case for the tests: how it is made, whom it knows, and what is special about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import httpx

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import (
    Finding,
    Person,
    Provenance,
    WebFindings,
    WebPage,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = "secret-key-4711"
ADAMS = Person(
    "Katherine Adams",
    "Apple Inc.",
    email="kate.private@mail.example",
    linkedin_url="https://www.linkedin.com/in/katherine-adams",
    is_public_company=True,
    company_cik=320193,
)
PAGE = WebPage(
    "Katherine Adams speaks at Apple Inc.",
    "https://news.example/adams",
    "Newsroom",
    "She spoke for 45 minutes.",
    published_on=NOW.date(),
)
PAGES = {
    SourceName.EXA: WebFindings((PAGE,), Provenance(SourceName.EXA, "https://x.example", "r", NOW))
}


class Source(Protocol):
    async def ask(self, call: SourceCall) -> Answer: ...


@dataclass(frozen=True)
class Case:
    """One source.

    `found` is a call that finds somebody in the sandbox, for `cost`; `example` makes up a finding;
    `names_people` says whether a finding has what the suppression list knows people by; `classes`
    is where the vendor's meaning of a fault differs, None where it is no error.
    """

    name: SourceName
    make: Callable[[str, httpx.AsyncClient, float], Source]
    found: SourceCall
    example: Callable[[Provenance], Finding]
    cost: int
    names_people: bool = False
    calls: int = 1
    classes: Mapping[str, ErrorClass | None] = field(default_factory=dict)
