"""The plain summary that stands in where no model's text passed the checks; pure.

It repeats facts that are our own words, and of a page on the web only its day: a text from outside
that found its way past everything else gets no further than the list of facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.facts import facts_of
from services.enrichment.sources.findings import (
    TEMPLATE,
    Fact,
    Finding,
    Provenance,
    Sentence,
    Summary,
)

_DAY = re.compile(r"\((\d{4}-\d{2}-\d{2})\):")
MOST_TRADES = 3


def templated(findings: Mapping[SourceName, Finding], at: datetime) -> Summary:
    """Put a summary together from the facts; without any it has no sentences."""
    facts = facts_of(findings)
    by_source = {
        source: [fact for fact in facts if fact.id.startswith(f"{source.value}-")]
        for source in SourceName
    }
    sentences = (
        *_of_trades(by_source[SourceName.SEC]),
        *_of_pages(by_source[SourceName.EXA]),
        *_of_contact(by_source[SourceName.CONTACTOUT]),
    )
    provenance = Provenance(SourceName.CLAUDE, "", "", at)
    return Summary(sentences, facts, model="", provenance=provenance, kind=TEMPLATE)


def _of_trades(facts: Sequence[Fact]) -> Iterator[Sentence]:
    for fact in facts[:MOST_TRADES]:
        yield Sentence(f"{fact.text}.", (fact.id,))


def _of_pages(facts: Sequence[Fact]) -> Iterator[Sentence]:
    dated = [(found[1], fact) for fact in facts if (found := _DAY.search(fact.text))]
    if dated:
        day, fact = max(dated, key=lambda pair: pair[0])
        yield Sentence(f"The newest page that was found on the web is of {day}.", (fact.id,))
    elif facts:
        yield Sentence("A page was found on the web.", (facts[0].id,))


def _of_contact(facts: Sequence[Fact]) -> Iterator[Sentence]:
    for fact in facts:
        if fact.text.startswith("Known to reach "):
            yield Sentence(f"{fact.text}.", (fact.id,))
