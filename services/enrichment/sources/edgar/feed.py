"""A company's feed: EDGAR's index of the filings that name it, as columns, newest first; pure.

The feed's own page has about a thousand rows, older pages have the rest. Paper filings and rows
without an XML document are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from services.enrichment.sources.edgar.transport import VENDOR

FORMS = frozenset({"4", "4/A", "5", "5/A"})
_COLUMNS = ("accessionNumber", "form", "filingDate", "primaryDocument")
_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
_DOCUMENT = re.compile(r"[\w-][\w.-]*\.xml", re.IGNORECASE | re.ASCII)
_OLDER_PAGE = re.compile(r"CIK\d{10}-submissions-\d+\.json")


@dataclass(frozen=True, slots=True)
class ListedFiling:
    """An ownership filing as the feed has it; `path` is its document's on the archives' host."""

    accession_number: str
    filed_on: date | None
    path: str

    @property
    def day(self) -> date:
        """The day by which it is sorted."""
        return self.filed_on or date.min


@dataclass(frozen=True, slots=True)
class OlderPage:
    """An older page of the feed: its name, and the day of its newest filing."""

    name: str
    newest: date | None


def newest_filings(cik: int, submissions: Mapping[str, Any]) -> list[ListedFiling]:
    """Return the filings on the feed's own page."""
    return filings_of(cik, _index(submissions).get("recent"))


def older_pages(submissions: Mapping[str, Any]) -> list[OlderPage]:
    """Return the older pages, newest first."""
    files = _index(submissions).get("files")
    pages = [page for page in files if isinstance(page, dict)] if isinstance(files, list) else []
    pages.sort(key=lambda page: str(page.get("filingTo", "")), reverse=True)
    return [
        OlderPage(name, _day(str(page.get("filingTo", ""))))
        for page in pages
        if _OLDER_PAGE.fullmatch(name := str(page.get("name", "")))
    ]


def filings_of(cik: int, page: object) -> list[ListedFiling]:
    """Return the ownership filings of a page, newest first."""
    found: dict[str, ListedFiling] = {}
    for accession, form, filed_on, path in _rows(page):
        document = path.rsplit("/", 1)[-1]
        if form not in FORMS or not _DOCUMENT.fullmatch(document):
            continue
        if not _ACCESSION.fullmatch(accession):
            raise VENDOR.invalid("answered an accession number that is none")
        folder = f"/Archives/edgar/data/{cik}/{accession.replace('-', '')}"
        filing = ListedFiling(accession, _day(filed_on), f"{folder}/{document}")
        found.setdefault(accession, filing)
    return sorted(found.values(), key=lambda filing: filing.day, reverse=True)


def _index(submissions: Mapping[str, Any]) -> Mapping[str, Any]:
    index = submissions.get("filings")
    if not isinstance(index, dict):
        raise VENDOR.invalid("answered submissions without filings")
    return index


def _rows(page: object) -> list[tuple[str, ...]]:
    """Turn a columnar page into rows of the columns that we read."""
    if not isinstance(page, dict):
        raise VENDOR.invalid("answered submissions without rows")
    columns = [page.get(name) for name in _COLUMNS]
    if not all(isinstance(column, list) for column in columns):
        raise VENDOR.invalid("answered submissions that lack a column")
    rows = list(zip(*(column for column in columns if column is not None), strict=False))
    if any(len(column or ()) != len(rows) for column in columns):
        raise VENDOR.invalid("answered submissions whose columns differ in length")
    return [tuple(str(value or "") for value in row) for row in rows]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
