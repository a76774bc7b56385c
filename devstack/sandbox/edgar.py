"""EDGAR in the sandbox: real filings, answered at the addresses and in the form of the real site.

It holds just the filings that the manifest of the data folder names. Submissions are the real
rows, cut down to filings that are held; where we hold a filing and no submissions file, the rows
are made from the filing in the same columns. As on the real site a filing stands in the feed of
every number that it names, and without a contact or above ten requests a second comes 403 in HTML.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from devstack.sandbox.faults import Kind, ordered
from devstack.sandbox.odd_filing import odd
from devstack.sandbox.vendor import Called, Vendor
from services.enrichment.sources.edgar.filing_xml import xml_block
from services.enrichment.sources.edgar.form import OwnershipDocument
from services.enrichment.sources.edgar.ownership import parse_ownership

REQUESTS_A_SECOND = 10
_CONTACT = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_OLDER_PAGE = re.compile(r"CIK\d{10}-submissions-\d+\.json")
_LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
_DOCTYPES = {
    Kind.BOMB: b'<!DOCTYPE ownershipDocument [<!ENTITY l0 "lol">' + _LAUGHS + b"]>",
    Kind.EXTERNAL_ENTITY: b'<!DOCTYPE ownershipDocument [<!ENTITY f SYSTEM "file:///etc/passwd">]>',
}
_COLUMNS = (
    "accessionNumber",
    "filingDate",
    "reportDate",
    "acceptanceDateTime",
    "act",
    "form",
    "fileNumber",
    "filmNumber",
    "items",
    "core_type",
    "size",
    "isXBRL",
    "isInlineXBRL",
    "primaryDocument",
    "primaryDocDescription",
)
_TOO_FAST = (
    "Request Rate Threshold Exceeded",
    "Your request rate has exceeded the SEC's maximum allowable requests per second. Your access "
    "to SEC.gov will be limited for 10 minutes.",
)
_NO_SUCH_KEY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
)


@dataclass(frozen=True)
class HeldFiling:
    """A filing that the sandbox's EDGAR holds."""

    accession: str
    document_name: str
    filed_on: str
    content: bytes

    @cached_property
    def xml(self) -> bytes:
        """Return the raw XML, taken out of the submission where the file is one."""
        return xml_block(self.content)

    @cached_property
    def document(self) -> OwnershipDocument:
        """Parse the filing."""
        return parse_ownership(self.content)

    @property
    def ciks(self) -> frozenset[int]:
        """Return the numbers that the filing names: issuer and reporting owners."""
        return frozenset({self.document.issuer.cik, *(owner.cik for owner in self.document.owners)})

    @property
    def rendering(self) -> str:
        """Return the folder of the rendered form, such as xslF345X03 for schema X0306."""
        return f"xslF345{self.document.schema_version[:3] or 'X03'}"


@dataclass(frozen=True)
class Holdings:
    """All that the sandbox's EDGAR holds."""

    filings: tuple[HeldFiling, ...]
    submissions: Mapping[int, Mapping[str, Any]]
    older_pages: Mapping[str, Mapping[str, list[Any]]]
    blocked_page: bytes = b""


def load(data: Path) -> Holdings:
    """Read the files that `data`/manifest.json names."""
    filings, submissions, older = [], {}, {}
    for entry in json.loads((data / "manifest.json").read_text())["files"]:
        path = data / entry["file"]
        if "accession" in entry:
            filed = entry["document"], entry["filed_on"]
            filings.append(HeldFiling(entry["accession"], *filed, path.read_bytes()))
        elif _OLDER_PAGE.fullmatch(path.name):
            older[path.name] = json.loads(path.read_text())
        elif path.match("sec/submissions/CIK*.json"):
            feed = json.loads(path.read_text())
            submissions[int(feed["cik"])] = feed
    filings.sort(key=lambda filing: filing.filed_on, reverse=True)
    blocked_page = (data / "sec/SEC.AutomatedTool.html").read_bytes()
    return Holdings(tuple(filings), submissions, older, blocked_page)


def routes(
    data: Path, *, now: Callable[[], float] = time.monotonic, rate: int = REQUESTS_A_SECOND
) -> list[Route]:
    """Return EDGAR's addresses, answered from the files below `data` (its manifest.json)."""
    edgar = _Edgar(load(data), now, rate)
    archive = "/Archives/edgar/data/{cik:int}/{accession}"
    return [
        Route("/submissions/{name}", edgar.submissions),
        Route(archive + "/{document}", edgar.document),
        Route(archive + "/{rendering}/{document}", edgar.rendered),
    ]


class _Edgar:
    def __init__(self, holdings: Holdings, now: Callable[[], float], rate: int) -> None:
        self._holdings = holdings
        self._now = now
        self._rate = rate
        self._requests: deque[float] = deque()

    async def submissions(self, request: Request) -> Response:
        """Answer GET /submissions/CIK##########.json."""
        if refusal := self._refuse(request):
            return refusal
        if ordered(request, Kind.ERROR_BODY):
            return JSONResponse({"message": "Internal server error"})
        asked = request.path_params["name"]
        if page := self._holdings.older_pages.get(asked):
            return JSONResponse(
                _held(page, {filing.accession for filing in self._holdings.filings})
            )
        name = re.fullmatch(r"CIK(\d{10})\.json", asked)
        feed = self._feed(int(name[1])) if name else None
        if feed is None or ordered(request, Kind.NOT_FOUND):
            return Response(_NO_SUCH_KEY, 404, media_type="application/xml")
        return JSONResponse(feed)

    async def document(self, request: Request) -> Response:
        """Answer the raw XML of a filing."""
        if refusal := self._refuse(request):
            return refusal
        filing = self._find(request)
        if filing is None:
            return _page(404, "Not Found", "The requested document does not exist.")
        return Response(_tampered(request, filing.xml), media_type="text/xml")

    async def rendered(self, request: Request) -> Response:
        """Answer the filing rendered as HTML, which is what the xsl folder stands for."""
        if refusal := self._refuse(request):
            return refusal
        filing = self._find(request)
        if filing is None or filing.rendering != request.path_params["rendering"]:
            return _page(404, "Not Found", "The requested document does not exist.")
        return HTMLResponse(_render(filing.document))

    def _refuse(self, request: Request) -> Response | None:
        moment = self._now()
        self._requests.append(moment)
        while self._requests[0] <= moment - 1:
            self._requests.popleft()
        if not _CONTACT.search(request.headers.get("user-agent", "")):
            return HTMLResponse(self._holdings.blocked_page, 403)
        if fault := ordered(request, Kind.BLOCKED):
            return HTMLResponse(self._holdings.blocked_page, int(fault.value or 403))
        if len(self._requests) > self._rate:
            return _page(403, *_TOO_FAST)
        return None

    def _find(self, request: Request) -> HeldFiling | None:
        asked = request.path_params
        for filing in self._holdings.filings:
            if (
                filing.accession.replace("-", "") == asked["accession"]
                and filing.document_name == asked["document"]
                and asked["cik"] in filing.ciks
            ):
                return filing
        return None

    def _feed(self, cik: int) -> dict[str, Any] | None:
        held = [filing for filing in self._holdings.filings if cik in filing.ciks]
        real = self._holdings.submissions.get(cik)
        if real is not None:
            pages = self._holdings.older_pages
            return _trimmed(real, {filing.accession for filing in held}, pages)
        return _made(cik, held) if held else None


def _trimmed(
    feed: Mapping[str, Any], held: set[str], pages: Mapping[str, object]
) -> dict[str, Any]:
    """Keep the rows of a real feed whose document the sandbox holds, and such older pages."""
    recent = _held(feed["filings"]["recent"], held)
    files = [file for file in feed["filings"]["files"] if file["name"] in pages]
    return {**feed, "filings": {"recent": recent, "files": files}}


def _held(page: Mapping[str, list[Any]], held: set[str]) -> dict[str, list[Any]]:
    rows = [i for i, number in enumerate(page["accessionNumber"]) if number in held]
    return {column: [values[i] for i in rows] for column, values in page.items()}


def _tampered(request: Request, xml: bytes) -> bytes:
    """Return the filing, or what was ordered in its place."""
    for kind, doctype in _DOCTYPES.items():
        if ordered(request, kind):
            return xml.replace(b"<ownershipDocument>", doctype + b"<ownershipDocument>", 1)
    if fault := ordered(request, Kind.ODD_FILING):
        return odd(str(fault.value), xml)
    if ordered(request, Kind.STRANGER):
        return re.sub(
            rb"(<rptOwnerName>).*?(</rptOwnerName>)", rb"\1NOWHERE BORIS\2", xml, flags=re.DOTALL
        )
    return xml


def error(status: int, headers: Mapping[str, str]) -> HTMLResponse:
    """Return an error in EDGAR's form: a page for people."""
    title, text = _TOO_FAST if status in (403, 429) else ("Error", "Please try again later.")
    page = _page(status, title, text)
    page.headers.update(headers)
    return page


def about_whom(call: Called) -> str:
    """Return the number of the company that a call is about."""
    digits = re.search(r"CIK(\d{10})|/data/(\d+)/", call.path)
    return str(int(digits.group(1) or digits.group(2))) if digits else ""


VENDOR = Vendor(
    ("/submissions", "/Archives"),
    lambda setup: routes(setup.data, rate=setup.sec_rate),
    error,
    about_whom,
)


def _made(cik: int, filings: list[HeldFiling]) -> dict[str, Any]:
    """Make a feed from filings, in the form of a real one."""
    issuer = filings[0].document.issuer
    is_issuer = issuer.cik == cik
    owners = (owner.name for owner in filings[0].document.owners if owner.cik == cik)
    rows = [_row(filing) for filing in filings]
    return {
        "cik": f"{cik:010d}",
        "entityType": "operating" if is_issuer else "other",
        "insiderTransactionForOwnerExists": int(not is_issuer),
        "insiderTransactionForIssuerExists": int(is_issuer),
        "name": issuer.name if is_issuer else next(owners),
        "tickers": [issuer.trading_symbol] if is_issuer else [],
        "exchanges": [],
        "formerNames": [],
        "filings": {
            "recent": {column: [row[column] for row in rows] for column in _COLUMNS},
            "files": [],
        },
    }


def _row(filing: HeldFiling) -> dict[str, Any]:
    document = filing.document
    return {
        **dict.fromkeys(_COLUMNS, ""),
        "accessionNumber": filing.accession,
        "filingDate": filing.filed_on,
        "reportDate": document.period.isoformat() if document.period else "",
        "acceptanceDateTime": f"{filing.filed_on}T18:00:00.000Z",
        "form": document.document_type,
        "core_type": document.document_type,
        "size": len(filing.content),
        "isXBRL": 0,
        "isInlineXBRL": 0,
        "primaryDocument": f"{filing.rendering}/{filing.document_name}",
        "primaryDocDescription": f"FORM {document.document_type}",
    }


def _render(document: OwnershipDocument) -> str:
    cells = [
        (row.security_title, row.transaction_date, row.code, row.shares, row.price)
        for row in document.transactions
    ]
    table = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in cells
    )
    owners = html.escape("; ".join(owner.name for owner in document.owners))
    return (
        f"<!DOCTYPE html>\n<html><head><title>SEC FORM {document.document_type}</title></head>"
        f"<body><h1>{html.escape(document.issuer.name)}</h1><p>{owners}</p>"
        f"<table>{table}</table></body></html>"
    )


def _cell(value: object) -> str:
    return "" if value is None else html.escape(str(value))


def _page(status: int, title: str, text: str) -> HTMLResponse:
    body = f"<h1>{title}</h1><p>{text}</p>"
    return HTMLResponse(
        f"<!DOCTYPE html>\n<html><head><title>SEC.gov | {title}</title></head>"
        f"<body>{body}</body></html>",
        status,
    )
