"""An EDGAR that answers what a test says, the sandbox's people and a filing of theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.stack import ROOT
from services.enrichment.sources.call import SourceCall
from services.enrichment.sources.edgar.client import SecEdgar
from services.enrichment.sources.edgar.filing_xml import xml_block
from services.enrichment.sources.findings import InsiderTrades, Person

DATA = ROOT / "devstack/sandbox/data"

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

ADAMS = Person("Katherine Adams", "Apple", company_cik=320193, is_public_company=True)

SCARPELLI = Person("Michael Scarpelli", "Snowflake", company_cik=1640147)

APPLE_XML = xml_block((DATA / "sec/filings/0000320193-22-000061.txt").read_bytes())

CONTACT = "Prospect Platform tests@example.com"

Answerer = Callable[[Request], Awaitable[Response]]

Make = Callable[..., SecEdgar]


def about(person: Person) -> SourceCall:
    return SourceCall(person, {})


def found(answer: Any) -> InsiderTrades:
    assert isinstance(answer.finding, InsiderTrades)
    return answer.finding


def row(accession: str, filed_on: str = "2022-05-06", form: str = "4") -> dict[str, str]:
    return {
        "accessionNumber": accession,
        "form": form,
        "filingDate": filed_on,
        "primaryDocument": "xslF345X03/doc4.xml",
    }


def page(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    return {name: [r[name] for r in rows] for name in row("")}


def submissions(*rows: dict[str, str], files: tuple[str, ...] = ()) -> dict[str, Any]:
    index = {"recent": page(list(rows)), "files": [{"name": name} for name in files]}
    return {"insiderTransactionForIssuerExists": 1, "filings": index}


def feed(answer: Response) -> Answerer:
    async def respond(request: Request) -> Response:
        return answer

    return respond


def fake(index: Answerer, document: Answerer) -> list[Route]:
    return [
        Route("/submissions/{name}", index),
        Route("/Archives/edgar/data/{cik}/{accession}/{name}", document),
    ]


ONE = feed(JSONResponse(submissions(row("0000320193-22-000061"))))

XML = feed(Response(APPLE_XML, media_type="text/xml"))
