"""A finding goes to storage and to the wire by its field names, and comes back as it was."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from google.protobuf import json_format
from prospect.enrichment.v1 import prospect_pb2

from services.enrichment.sources import findings
from services.enrichment.sources.catalogue import SOURCES, SourceName, from_json
from services.enrichment.sources.findings import (
    Contact,
    Finding,
    InsiderTrade,
    InsiderTrades,
    Provenance,
    Sentence,
    Summary,
    WebFindings,
    WebPage,
    to_json,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MESSAGES = [n for n in prospect_pb2.DESCRIPTOR.message_types_by_name if hasattr(findings, n)]


def where(source: SourceName) -> Provenance:
    return Provenance(source, "https://source.example", "r-1", NOW)


TRADE = InsiderTrade(
    "0000000000-24-000001", "non_derivative", 0, "4", "https://sec.example/1", "DOE JANE", 9,
    "director", "Common Stock", "S", "open market or private sale", True, "D", False, ("a note",),
    shares=Decimal("1200.0001"), shares_owned_after=Decimal(0),
)  # fmt: skip
FINDINGS: dict[SourceName, Finding] = {
    SourceName.CONTACTOUT: Contact(
        "Jane Doe", "", "Acme", "", ("a@acme.example",), (), (), where(SourceName.CONTACTOUT)
    ),
    SourceName.EXA: WebFindings(
        (WebPage("A", "https://a.example", "", "text"),), where(SourceName.EXA)
    ),
    SourceName.SEC: InsiderTrades(7, "Acme", 1, (TRADE,), where(SourceName.SEC)),
    SourceName.CLAUDE: Summary((Sentence("A.", ("a-1",)),), (), "m", where(SourceName.CLAUDE)),
}
every_finding = pytest.mark.parametrize("source", FINDINGS, ids=lambda source: source.value)


@every_finding
def test_a_finding_comes_back_from_storage_as_it_was(source: SourceName) -> None:
    stored = json.loads(json.dumps(to_json(FINDINGS[source])))
    assert from_json(source, stored) == FINDINGS[source]


@every_finding
def test_a_finding_fits_its_message(source: SourceName) -> None:
    message = getattr(prospect_pb2.Prospect(), SOURCES[source].column)
    json_format.ParseDict(to_json(FINDINGS[source]), message)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_finding_has_the_fields_of_its_message(name: str) -> None:
    ours = {field.name for field in dataclasses.fields(getattr(findings, name))}
    assert ours == set(prospect_pb2.DESCRIPTOR.message_types_by_name[name].fields_by_name)
