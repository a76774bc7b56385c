"""Every source's case: that of `exa` is CASE in case_exa.py; a source without one is no source."""

from __future__ import annotations

from importlib import import_module

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Finding, Provenance
from tests.enrichment.sources.case import Case


def case_of(source: SourceName) -> Case:
    """Return a source's case."""
    case: Case = import_module(f"tests.enrichment.sources.case_{source.value}").CASE
    return case


CASES = tuple(map(case_of, SourceName))


def example(source: SourceName, where: Provenance) -> Finding:
    """Return a made-up finding of a source."""
    return case_of(source).example(where)
