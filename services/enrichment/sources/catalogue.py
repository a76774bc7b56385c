"""The catalogue of the sources: one row a source holds what the rest of the code asks about it.

Costs are list prices in millionths of a US dollar (ContactOut: one e-mail and one phone credit;
Exa: a search with the text of up to ten pages, $7 for 1,000 as of December 2026; Claude: the
longest prompt and answer that the limits allow). They bound what one call may cost; what it did
cost comes with its answer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from services.enrichment.sources.findings import (
    Contact,
    Finding,
    InsiderTrades,
    Person,
    Summary,
    WebFindings,
)
from services.enrichment.sources.identity import profile_slug


class SourceName(StrEnum):
    """The sources, by the names that contracts, SQL, settings and docs use, in their one order."""

    CONTACTOUT = "contactout"
    EXA = "exa"
    SEC = "sec"
    CLAUDE = "claude"


CanAsk = Callable[[Person], bool]
NO_PREFERENCE: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the engine knows of a source before it is asked.

    `max_cost_micros` is reserved before a call leaves, 0 for a free source; `fresh_for` is how long
    an answer, "not found" included, stands before it is bought again; `column` is where a prospect
    keeps the finding, in its table and in the contract's `Prospect`. `lookups` are the ways to ask,
    best first, each with whether a person can be asked about in that way; none means that there is
    one way only. `is_research` says that it brings evidence, and False that it summarises it.
    `credential` and `urls` are the settings that hold its key and its addresses, where these are
    not named after the source.
    """

    finding: type[Finding]
    column: str
    max_cost_micros: int
    fresh_for: timedelta
    lookups: Mapping[str, CanAsk] = field(default_factory=dict)
    is_research: bool = True
    credential: str = ""
    urls: tuple[str, ...] = ()

    @property
    def is_paid(self) -> bool:
        """Whether a lost reply may have been paid for."""
        return self.max_cost_micros > 0

    def ways_to_ask(self, person: Person, order: Sequence[str] = NO_PREFERENCE) -> tuple[str, ...]:
        """Return the ways in which a person can be asked about, in `order` or best first."""
        possible = [way for way in order or self.lookups if way in self.lookups]
        return tuple(way for way in possible if self.lookups[way](person))


SOURCES: Mapping[SourceName, Source] = {
    SourceName.CONTACTOUT: Source(
        finding=Contact,
        column="contact_data",
        max_cost_micros=400_000,
        fresh_for=timedelta(days=30),
        lookups={
            "linkedin_url": lambda who: bool(profile_slug(who.linkedin_url)),
            "email": lambda who: "@" in who.email,
            "name_and_company": lambda who: bool(who.name and who.company),
        },
    ),
    SourceName.EXA: Source(
        finding=WebFindings,
        column="web_data",
        max_cost_micros=7_000,
        fresh_for=timedelta(days=7),
    ),
    SourceName.SEC: Source(
        finding=InsiderTrades,
        column="insider_data",
        max_cost_micros=0,
        fresh_for=timedelta(days=1),
        credential="sec_user_agent",
        urls=("sec_data_url", "sec_archives_url"),
    ),
    SourceName.CLAUDE: Source(
        finding=Summary,
        column="ai_summary",
        max_cost_micros=150_000,
        fresh_for=timedelta(days=365),
        is_research=False,
        credential="anthropic_api_key",
        urls=("anthropic_url",),
    ),
}
KNOWN = frozenset(name.value for name in SourceName)
RESEARCH = tuple(name for name in SourceName if SOURCES[name].is_research)


def known(names: Iterable[str]) -> list[SourceName]:
    """Return the sources of these names, without those that only a newer version knows."""
    return [SourceName(name) for name in names if name in KNOWN]


def credential_of(name: SourceName) -> str:
    """Return the setting with what a source knows us by: a key, for the SEC our User-Agent."""
    return SOURCES[name].credential or f"{name.value}_api_key"


def urls_of(name: SourceName) -> tuple[str, ...]:
    """Return the settings with a source's addresses."""
    return SOURCES[name].urls or (f"{name.value}_url",)


@functools.cache
def _adapter(name: SourceName) -> TypeAdapter[Finding]:
    return TypeAdapter(SOURCES[name].finding)


def from_json(name: SourceName, value: Any) -> Finding:
    """Turn what `to_json` made back into the source's finding."""
    return _adapter(name).validate_python(value)
