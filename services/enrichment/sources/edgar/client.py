"""SEC EDGAR: the person's own trades in the company's securities, read from the filings.

The company's feed names its newest filings; each ownership filing is fetched as raw XML and read
by ownership.py. EDGAR lists a form under every company and person that it names: documents of
another issuer are left out, and do not use up how many are read. So is one that cannot be read; if
none can be, the call fails. How far back was read stands in the answer, also where there is none.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import structlog

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.edgar.feed import (
    ListedFiling,
    OlderPage,
    filings_of,
    newest_filings,
    older_pages,
)
from services.enrichment.sources.edgar.filing_xml import OwnershipError
from services.enrichment.sources.edgar.form import OwnershipDocument, ReadFiling
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.trades import trades_of
from services.enrichment.sources.edgar.transport import VENDOR, SecHttp
from services.enrichment.sources.findings import InsiderTrades, Provenance

AT_ONCE = 8
"""So many documents are fetched side by side; the rate bounds them as well."""
MAX_FILINGS = 500
"""So many documents one call fetches at most, owner's filings included: 50 seconds at 10/s."""
_KEPT_DOCUMENTS = 2_000
_Fetched = tuple[OwnershipDocument, datetime]
_log = structlog.get_logger()


@dataclass(slots=True)
class _Reading:
    """What is read of a company's feed, and what waits to be."""

    cik: int
    waiting: deque[ListedFiling]
    pages: deque[OlderPage]
    about: list[ReadFiling] = field(default_factory=list)
    fetched: int = 0
    unread: int = 0
    oldest: date | None = None

    def next_batch(self, wanted: int, since: date) -> list[ListedFiling]:
        """Take what is to be read next: enough filings, and all of the days since."""
        room = min(AT_ONCE, MAX_FILINGS - self.fetched)
        missing = wanted - len(self.about)
        batch: list[ListedFiling] = []
        while self.waiting and len(batch) < room:
            if len(batch) >= missing and self.waiting[0].day < since:
                break
            batch.append(self.waiting.popleft())
        return batch

    def needs_page(self, wanted: int, since: date) -> bool:
        """Tell whether an older page is to be read."""
        if self.waiting or not self.pages or self.fetched >= MAX_FILINGS:
            return False
        return len(self.about) < wanted or self._newest_of(self.pages[0], since) >= since

    def read_back_to(self, since: date) -> date:
        """Return the day since which everything was read."""
        left = [filing.day for filing in self.waiting]
        left += [self._newest_of(page, since) for page in self.pages]
        if not left:
            return min(self.oldest or since, since)
        return max(left) + timedelta(days=1)

    def _newest_of(self, page: OlderPage, since: date) -> date:
        return page.newest or self.oldest or since


class SecEdgar:
    """The SEC as a source.

    At least the newest `max_filings` filings about the company are read, and all of `days`.
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
        days: int = 365,
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
        self._days = days
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
        days = call.look_back_days or self._days
        since = self._clock().date() - timedelta(days=days)
        reading = await self._read(cik, submissions, since)
        found = trades_of(person.name, cik, reading.about)
        read_back_to = reading.read_back_to(since)
        if not found.trades:
            return Answer(finding=None, note=_nothing(found.is_ambiguous, reading, read_back_to))
        finding = InsiderTrades(
            issuer_cik=cik,
            issuer_name=reading.about[0].document.issuer.name,
            filings_read=len(reading.about),
            trades=found.trades,
            provenance=Provenance(SourceName.SEC, url, "", self._clock()),
            superseded=found.superseded,
            owner_matches=found.owner_matches,
            read_back_to=read_back_to,
            filings_unread=reading.unread,
        )
        return Answer(finding=finding)

    async def _read(self, cik: int, submissions: Mapping[str, Any], since: date) -> _Reading:
        """Read the filings; a broken one is left out, all of them broken is an error."""
        newest, pages = newest_filings(cik, submissions), older_pages(submissions)
        reading = _Reading(cik, deque(newest), deque(pages))
        seen = {filing.accession_number for filing in newest}
        while True:
            while reading.needs_page(self._max_filings, since):
                listed = await self._page(cik, reading.pages.popleft())
                fresh = [each for each in listed if each.accession_number not in seen]
                seen |= {each.accession_number for each in fresh}
                reading.waiting.extend(fresh)
            batch = reading.next_batch(self._max_filings, since)
            if not batch:
                break
            await self._read_batch(reading, batch)
        if reading.fetched and reading.unread == reading.fetched:
            raise VENDOR.invalid(
                f"answered {reading.fetched} ownership filings of which none can be read"
            )
        return reading

    async def _page(self, cik: int, page: OlderPage) -> list[ListedFiling]:
        older = await self._http.get_json(f"{self._data_url}/submissions/{page.name}")
        return [] if older is None else filings_of(cik, older)

    async def _read_batch(self, reading: _Reading, batch: list[ListedFiling]) -> None:
        tasks = [asyncio.create_task(self._try_to_read(listed)) for listed in batch]
        try:
            read = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for listed, filing in zip(batch, read, strict=True):
            reading.fetched += 1
            reading.oldest = listed.filed_on or reading.oldest
            if filing is None:
                reading.unread += 1
            elif filing.document.issuer.cik == reading.cik:
                reading.about.append(filing)

    async def _try_to_read(self, listed: ListedFiling) -> ReadFiling | None:
        url = f"{self._archives_url}{listed.path}"
        try:
            document, fetched_at = await self._document(url)
        except OwnershipError as error:
            accession = listed.accession_number
            _log.warning("filing skipped", accession_number=accession, reason=str(error))
            return None
        return ReadFiling(listed.accession_number, listed.filed_on, url, document, fetched_at)

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


def _nothing(is_ambiguous: bool, reading: _Reading, read_back_to: date) -> str:
    """Say what was looked through in vain."""
    what = "more than one owner may be meant" if is_ambiguous else "no trades of the person"
    unread = f", {reading.unread} of which could not be read" if reading.unread else ""
    number = len(reading.about) + reading.unread
    return f"{what} in the company's {number} filings since {read_back_to}{unread}"
