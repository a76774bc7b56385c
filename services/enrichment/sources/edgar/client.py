"""SEC EDGAR: the person's own trades in the company's securities, read from the filings.

The company's submissions name its newest filings; each ownership filing is fetched as raw XML and
read by ownership.py. EDGAR lists a form under every company and person that it names, so documents
of another issuer are left out. So is one that cannot be read; if none can be, the call fails.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import httpx
import structlog

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.edgar.filing_xml import OwnershipError
from services.enrichment.sources.edgar.form import OwnershipDocument, ReadFiling
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.trades import trades_of
from services.enrichment.sources.edgar.transport import VENDOR, SecHttp
from services.enrichment.sources.findings import InsiderTrades, Provenance

FORMS = frozenset({"4", "4/A", "5", "5/A"})
_COLUMNS = ("accessionNumber", "form", "filingDate", "primaryDocument")
_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
_DOCUMENT = re.compile(r"[\w-][\w.-]*\.xml", re.IGNORECASE | re.ASCII)
_OLDER_PAGE = re.compile(r"CIK\d{10}-submissions-\d+\.json")
_KEPT_DOCUMENTS = 1_000
_Fetched = tuple[OwnershipDocument, datetime]
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Filing:
    accession_number: str
    filed_on: date | None
    url: str


class SecEdgar:
    """The SEC as a source.

    `pace` is awaited before each of its several requests, and returns when the next may leave.
    """

    name = SourceName.SEC

    def __init__(
        self,
        client: httpx.AsyncClient,
        data_url: str,
        archives_url: str,
        *,
        user_agent: str,
        max_filings: int = 40,
        clock: Callable[[], datetime],
        pace: Callable[[], Awaitable[None]],
        seconds: float = 30,
    ) -> None:
        self._http = SecHttp(
            client,
            user_agent=user_agent,
            clock=clock,
            pace=pace,
            seconds=seconds,
        )
        self._data_url = data_url.rstrip("/")
        self._archives_url = archives_url.rstrip("/")
        self._max_filings = max_filings
        self._clock = clock
        # A filing never changes once filed: a retry goes on where the last attempt was stopped.
        self._documents: OrderedDict[str, _Fetched] = OrderedDict()

    async def ask(self, call: SourceCall) -> Answer:
        """Return the person's trades at the company; no finding where there are none."""
        person = call.person
        if not person.company_cik:
            raise SourceError(ErrorClass.REFUSED_REQUEST, "SEC needs the company's number (CIK)")
        cik = person.company_cik
        url = f"{self._data_url}/submissions/CIK{cik:010d}.json"
        submissions = await self._http.get_json(url)
        if submissions is None or submissions.get("insiderTransactionForIssuerExists") == 0:
            return Answer(finding=None)
        filings = await self._read(await self._list_filings(cik, submissions))
        found = trades_of(person.name, cik, filings)
        if not found.trades:
            return Answer(finding=None)
        finding = InsiderTrades(
            issuer_cik=cik,
            issuer_name=_issuer_name(cik, filings),
            filings_read=len(filings),
            trades=found.trades,
            provenance=Provenance(SourceName.SEC, url, "", self._clock()),
            superseded=found.superseded,
            owner_matches=found.owner_matches,
        )
        return Answer(finding=finding)

    async def _list_filings(self, cik: int, submissions: Mapping[str, Any]) -> list[_Filing]:
        """Return the newest ownership filings, reading older pages while there are too few."""
        index = submissions.get("filings")
        if not isinstance(index, dict):
            raise VENDOR.invalid("answered submissions without filings")
        found = self._filings_of(cik, index.get("recent"))
        for page in _older_pages(index.get("files")):
            if len(found) >= self._max_filings:
                break
            older = await self._http.get_json(f"{self._data_url}/submissions/{page}")
            if older is not None:
                found = found | {
                    accession: filing
                    for accession, filing in self._filings_of(cik, older).items()
                    if accession not in found
                }
        filings = sorted(found.values(), key=lambda f: f.filed_on or date.min, reverse=True)
        return filings[: self._max_filings]

    def _filings_of(self, cik: int, page: object) -> dict[str, _Filing]:
        """Read one columnar page; paper filings and rows without an XML document are left out."""
        found: dict[str, _Filing] = {}
        for accession, form, filed_on, path in _rows(page):
            document = path.rsplit("/", 1)[-1]
            if form not in FORMS or not _DOCUMENT.fullmatch(document):
                continue
            if not _ACCESSION.fullmatch(accession):
                raise VENDOR.invalid("answered an accession number that is none")
            folder = f"{self._archives_url}/Archives/edgar/data/{cik}/{accession.replace('-', '')}"
            found.setdefault(accession, _Filing(accession, _day(filed_on), f"{folder}/{document}"))
        return found

    async def _read(self, filings: list[_Filing]) -> list[ReadFiling]:
        """Read each filing; a broken one is left out, all of them broken is an error."""
        read = []
        for filing in filings:
            try:
                document, fetched_at = await self._document(filing.url)
            except OwnershipError as error:
                accession = filing.accession_number
                _log.warning("filing skipped", accession_number=accession, reason=str(error))
                continue
            read.append(
                ReadFiling(
                    filing.accession_number, filing.filed_on, filing.url, document, fetched_at
                )
            )
        if filings and not read:
            raise VENDOR.invalid(
                f"answered {len(filings)} ownership filings of which none can be read"
            )
        return read

    async def _document(self, url: str) -> _Fetched:
        if url in self._documents:
            self._documents.move_to_end(url)
            return self._documents[url]
        try:
            body = await self._http.get(url)
        except SourceError as error:
            if error.error_class is ErrorClass.INVALID_ANSWER:
                raise OwnershipError(error.message) from error
            raise
        if body is None:
            raise OwnershipError("the document is not there (404)")
        fetched = await asyncio.to_thread(parse_ownership, body), self._clock()
        self._documents[url] = fetched
        while len(self._documents) > _KEPT_DOCUMENTS:
            self._documents.popitem(last=False)
        return fetched


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


def _older_pages(files: object) -> list[str]:
    """Return the names of the older pages, newest first."""
    pages = [page for page in files if isinstance(page, dict)] if isinstance(files, list) else []
    pages.sort(key=lambda page: str(page.get("filingTo", "")), reverse=True)
    names = [str(page.get("name", "")) for page in pages]
    return [name for name in names if _OLDER_PAGE.fullmatch(name)]


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _issuer_name(cik: int, filings: list[ReadFiling]) -> str:
    names = (f.document.issuer.name for f in filings if f.document.issuer.cik == cik)
    return next(names, "")
