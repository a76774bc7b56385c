"""Writes a plain summary from the facts, for when no text of the model passed the checks; pure.

It repeats facts that are our own words, and of a page on the web only its day: a text from outside
that found its way past everything else gets no further than the list of facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.facts import facts_with_statements
from services.enrichment.sources.findings import (
    TEMPLATE,
    Finding,
    Provenance,
    Sentence,
    Summary,
)


def templated(findings: Mapping[SourceName, Finding], at: datetime) -> Summary:
    """Put a summary together from the facts, the last source's first; without any it is empty."""
    facts = facts_with_statements(findings)
    sentences = [
        Sentence(statement.plain, (fact.id,))
        for source in reversed(SourceName)
        for fact, statement in facts
        if statement.plain and fact.id.startswith(f"{source.value}-")
    ]
    provenance = Provenance(SourceName.CLAUDE, "", "", at)
    every = tuple(fact for fact, _ in facts)
    return Summary(tuple(sentences), every, model="", provenance=provenance, kind=TEMPLATE)
