"""From findings to facts: statements with ids, which a summary may cite and a reader check."""

from __future__ import annotations

from collections.abc import Mapping

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Fact, Finding


def facts_of(findings: Mapping[SourceName, Finding]) -> tuple[Fact, ...]:
    """Return the facts in the order of the sources, numbered by source."""
    return tuple(fact for fact, _ in facts_with_plain(findings))


def facts_with_plain(findings: Mapping[SourceName, Finding]) -> list[tuple[Fact, str]]:
    """Return each fact with what the plain summary says of it, empty for nothing."""
    return [
        (
            Fact(f"{source.value}-{number}", each.text, each.url, findings[source].provenance),
            each.plain,
        )
        for source in SourceName
        if source in findings
        for number, each in enumerate(findings[source].statements(), 1)
    ]
