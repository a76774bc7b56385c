"""From findings to facts: statements with ids, which a summary may cite and a reader check."""

from __future__ import annotations

from collections.abc import Mapping

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Fact, Finding, Statement


def facts_of(findings: Mapping[SourceName, Finding]) -> tuple[Fact, ...]:
    """Return the facts in the order of the sources, numbered by source."""
    return tuple(fact for fact, _ in facts_with_statements(findings))


def facts_with_statements(
    findings: Mapping[SourceName, Finding],
) -> list[tuple[Fact, Statement]]:
    """Return each fact with the statement that it was made of."""
    return [
        (Fact(f"{source.value}-{number}", each.text, each.url, findings[source].provenance), each)
        for source in SourceName
        if source in findings
        for number, each in enumerate(findings[source].statements(), 1)
    ]
