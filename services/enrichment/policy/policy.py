"""What a tenant allows, and how long a source's answers are fresh. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Person


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """What a tenant allows of one source; `fresh_for` and `look_back_days` may be its own."""

    is_enabled: bool = True
    fresh_for: timedelta | None = None
    day_budget_micros: int = 0
    look_back_days: int = 0


@dataclass(frozen=True, slots=True)
class Highest:
    """What the operator lets a tenant set these fields of its policy to."""

    most_runs_at_once: int = 1_000
    weight: int = 100


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tenant allows; a budget of 0 is none.

    A field that was stored when the operator allowed more counts as `highest` says now.
    """

    is_stopped: bool = False
    contact_lookups: tuple[str, ...] = tuple(SOURCES[SourceName.CONTACTOUT].lookups)
    ask_paid_again: bool = False
    run_budget_micros: int = 0
    day_budget_micros: int = 0
    most_runs_at_once: int = 32
    weight: int = 1
    debounce_seconds: int = 0
    sources: Mapping[SourceName, SourcePolicy] = field(default_factory=dict)
    updated_at: datetime | None = None
    highest: Highest = Highest()

    def source(self, source: SourceName) -> SourcePolicy:
        """Return what is allowed of a source."""
        return self.sources.get(source, SourcePolicy())

    def fresh_for(self, source: SourceName) -> timedelta:
        """Return how long the source's answers are fresh."""
        return self.source(source).fresh_for or SOURCES[source].fresh_for

    def ways_to_ask(self, source: SourceName, person: Person) -> tuple[str, ...]:
        """Return the ways in which a source can be asked about a person, in the tenant's order."""
        return SOURCES[source].ways_to_ask(person, lookup_order(source, self.contact_lookups))

    @property
    def has_day_budget(self) -> bool:
        """Whether what is spent in a day is limited."""
        return bool(self.day_budget_micros) or any(
            each.day_budget_micros for each in self.sources.values()
        )


def lookup_order(source: SourceName, contact_lookups: Sequence[str]) -> Sequence[str]:
    """Return in which order a tenant wants a source's lookups: it has a say in ContactOut's."""
    return contact_lookups if source is SourceName.CONTACTOUT else ()
