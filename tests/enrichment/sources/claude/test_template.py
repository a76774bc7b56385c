"""The plain summary comes from nobody but us: it has no page and no request of a vendor."""

from __future__ import annotations

from datetime import UTC, datetime

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.template import templated
from services.enrichment.sources.findings import Provenance

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_the_plain_summary_names_no_page_and_no_request() -> None:
    assert templated({}, NOW).provenance == Provenance(SourceName.CLAUDE, "", "", NOW)
