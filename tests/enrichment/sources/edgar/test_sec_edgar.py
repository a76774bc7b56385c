"""The SEC client over real HTTP: against the sandbox's EDGAR, and against one that fails."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from devstack.sandbox import edgar
from devstack.stack import ROOT
from services.enrichment.sources.call import ErrorClass, SourceCall, SourceError
from services.enrichment.sources.edgar.client import SecEdgar
from services.enrichment.sources.edgar.ownership import xml_block
from services.enrichment.sources.findings import InsiderTrades, Person, to_json
from services.enrichment.sources.http import certificates
from tests.enrichment.sources.serving import PACE, Pace, serve
from tests.harness import SandboxDesk

DATA = ROOT / "devstack/sandbox/data"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ADAMS = Person("Katherine Adams", "Apple", company_cik=320193, is_public_company=True)
SCARPELLI = Person("Michael Scarpelli", "Snowflake", company_cik=1640147)
APPLE_XML = xml_block((DATA / "sec/filings/0000320193-22-000061.txt").read_bytes())
CONTACT = "Prospect Platform tests@example.com"

Answerer = Callable[[Request], Awaitable[Response]]
Make = Callable[..., SecEdgar]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with httpx.AsyncClient(timeout=5, verify=certificates()) as client:

        def build(url: str, **changes: Any) -> SecEdgar:
            usual: dict[str, Any] = {
                "user_agent": CONTACT,
                "clock": lambda: NOW,
                "pace": Pace().wait,
            }
            settings = usual | {"client": client, **changes}
            return SecEdgar(data_url=url, archives_url=url, **settings)

        yield build


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    async with serve(edgar.routes(DATA)) as url:
        yield url


def about(person: Person) -> SourceCall:
    return SourceCall(person, {})


def found(answer: Any) -> InsiderTrades:
    assert isinstance(answer.finding, InsiderTrades)
    return answer.finding


# --- against the sandbox's EDGAR ----------------------------------------------------------------


async def test_the_trades_of_a_person_are_found(make: Make, sandbox: str) -> None:
    trades = found(await make(sandbox).ask(about(ADAMS))).trades
    assert [trade.shares for trade in trades] == [9136, 5316, 4006, 900, 1550, 1800, 2292]


async def test_a_trade_tells_all_that_the_filing_does(make: Make, sandbox: str) -> None:
    trade = found(await make(sandbox).ask(about(ADAMS))).trades[0]
    plan, prices = trade.footnotes
    assert plan.startswith("This transaction was made pursuant to a Rule 10b5-1 trading plan")
    assert prices.startswith("This transaction was executed in multiple trades")
    assert to_json(replace(trade, footnotes=())) == {
        "accession_number": "0000320193-22-000061",
        "table": "non_derivative",
        "row": 0,
        "form": "4",
        "filing_url": f"{sandbox}/Archives/edgar/data/320193/000032019322000061"
        "/wf-form4_165187623819106.xml",
        "owner_name": "Adams Katherine L.",
        "owner_cik": 1462356,
        "owner_role": "officer (SVP, GC and Secretary)",
        "security_title": "Common Stock",
        "transaction_date": "2022-05-04",
        "transaction_code": "S",
        "transaction_kind": "open market or private sale",
        "is_market_trade": True,
        "acquired_disposed": "D",
        "shares": "9136",
        "price_per_share": "159.94",
        "shares_owned_after": "468198",
        "under_10b5_1_plan": True,
        "footnotes": [],
        "fetched_at": "2026-11-24T12:00:00+00:00",
        "superseded_by": "",
    }


async def test_the_finding_names_issuer_and_provenance(make: Make, sandbox: str) -> None:
    finding = found(await make(sandbox).ask(about(ADAMS)))
    assert (finding.issuer_cik, finding.issuer_name) == (320193, "Apple Inc.")
    assert finding.filings_read == 1
    assert finding.provenance.url == f"{sandbox}/submissions/CIK0000320193.json"
    assert finding.provenance.fetched_at == NOW


async def test_rows_of_both_tables_are_told_apart(make: Make, sandbox: str) -> None:
    trades = found(await make(sandbox).ask(about(SCARPELLI))).trades
    rows = [(trade.table, trade.row) for trade in trades]
    assert sorted(rows) == [("derivative", 0), *(("non_derivative", row) for row in range(6))]


async def test_only_sales_and_purchases_are_market_trades(make: Make, sandbox: str) -> None:
    trades = found(await make(sandbox).ask(about(SCARPELLI))).trades
    assert sum(trade.shares or 0 for trade in trades if trade.is_market_trade) == 200_000


async def test_a_gift_at_no_price_costs_zero(make: Make, sandbox: str) -> None:
    person = replace(SCARPELLI, name="John McMahon")
    (gift,) = found(await make(sandbox).ask(about(person))).trades
    assert (gift.form, gift.transaction_code, gift.price_per_share) == ("5", "G", Decimal(0))


@pytest.mark.parametrize(
    ("name", "cik"),
    [
        ("Warren Buffett", 1640147),  # filed a Form 3 only
        ("Karen Adams", 320193),
        ("Katherine Adams", 1640147),  # of another company
        ("Katherine Adams", 999),  # unknown to EDGAR
        ("Katherine Adams", 1462356),  # insiderTransactionForIssuerExists is 0
    ],
)
async def test_a_person_or_company_without_trades_is_an_answer(
    make: Make, sandbox: str, name: str, cik: int
) -> None:
    answer = await make(sandbox).ask(about(Person(name, "", company_cik=cik)))
    assert answer.finding is None


async def test_without_a_contact_edgar_throttles(make: Make, sandbox: str) -> None:
    with pytest.raises(SourceError) as caught:
        await make(sandbox, user_agent="python").ask(about(ADAMS))
    assert caught.value.error_class is ErrorClass.THROTTLED
    assert caught.value.retry_after == 600


async def test_a_company_without_a_number_is_not_asked_about(make: Make) -> None:
    with pytest.raises(SourceError) as caught:
        await make("http://unused.invalid").ask(about(replace(ADAMS, company_cik=None)))
    assert caught.value.error_class is ErrorClass.REFUSED_REQUEST


async def test_a_filing_is_fetched_once(make: Make) -> None:
    # Nine times the index and once the filing are the ten requests that one second allows.
    async with serve(edgar.routes(DATA, now=lambda: 0.0)) as url:
        source = make(url)
        for _ in range(9):
            found(await source.ask(about(ADAMS)))


# --- against an EDGAR that fails ----------------------------------------------------------------


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


async def failure(make: Make, routes: list[Route], **changes: Any) -> SourceError:
    async with serve(routes) as url:
        with pytest.raises(SourceError) as caught:
            await make(url, **changes).ask(about(ADAMS))
    return caught.value


STATUSES = {
    403: (ErrorClass.THROTTLED, 600),
    429: (ErrorClass.THROTTLED, None),
    500: (ErrorClass.TRANSIENT, None),
    503: (ErrorClass.TRANSIENT, None),
    400: (ErrorClass.REFUSED_REQUEST, None),
    301: (ErrorClass.INVALID_ANSWER, None),
}


@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_has_its_class(make: Make, status: int) -> None:
    refusal = feed(HTMLResponse("<html>Request Rate Threshold Exceeded</html>", status))
    error = await failure(make, fake(refusal, XML))
    assert (error.error_class, error.retry_after) == STATUSES[status]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("Tue, 24 Nov 2026 12:02:00 GMT", 120), ("soon", None)],
)
async def test_retry_after_is_read(make: Make, header: str, seconds: float | None) -> None:
    refusal = feed(Response(status_code=429, headers={"Retry-After": header}))
    error = await failure(make, fake(refusal, XML))
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [
        b'{"filings": {"recent": {"form": ["4"',
        b"<html>SEC.gov</html>",
        b"[]",
        b"{}",
        b'{"filings": {"recent": {"form": ["4"]}}}',
        json.dumps({"filings": {"recent": {**page([row("x")]), "form": []}}}).encode(),
        json.dumps(submissions(row("../../etc/passwd"))).encode(),
        b"[" * 100_000,
    ],
)
async def test_an_index_of_another_form_is_an_invalid_answer(make: Make, body: bytes) -> None:
    error = await failure(make, fake(feed(Response(body)), XML))
    assert error.error_class is ErrorClass.INVALID_ANSWER


async def test_a_server_that_hangs_is_a_transient_error(make: Make) -> None:
    async def hang(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with httpx.AsyncClient(timeout=0.05, verify=certificates()) as client:
        error = await failure(make, fake(hang, XML), client=client)
    assert error.error_class is ErrorClass.TRANSIENT


async def test_a_server_that_is_not_there_is_a_transient_error(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceError) as caught:
        await make(f"http://127.0.0.1:{port}").ask(about(ADAMS))
    assert caught.value.error_class is ErrorClass.TRANSIENT


async def test_throttling_at_a_document_stops_the_fetch(make: Make) -> None:
    error = await failure(make, fake(ONE, feed(HTMLResponse("<html></html>", 403))))
    assert error.error_class is ErrorClass.THROTTLED


@pytest.fixture(params=["html", "half", "missing", "too large"])
def broken(request: pytest.FixtureRequest) -> Response:
    bodies = {
        "html": HTMLResponse("<html>rendered</html>"),
        "half": Response(APPLE_XML[: len(APPLE_XML) // 2]),
        "missing": HTMLResponse("not found", 404),
        "too large": Response(b" " * (10 * 1024 * 1024 + 1)),
    }
    return bodies[request.param]


async def test_only_broken_documents_are_an_invalid_answer(make: Make, broken: Response) -> None:
    error = await failure(make, fake(ONE, feed(broken)))
    assert error.error_class is ErrorClass.INVALID_ANSWER


async def test_a_broken_document_is_left_out(make: Make, broken: Response) -> None:
    two = feed(JSONResponse(submissions(row("0000000000-22-000009"), row("0000320193-22-000061"))))

    async def document(request: Request) -> Response:
        broke = request.path_params["accession"].startswith("000000")
        return broken if broke else await XML(request)

    async with serve(fake(two, document)) as url:
        with capture_logs() as logs:
            finding = found(await make(url).ask(about(ADAMS)))
    assert (finding.filings_read, len(finding.trades)) == (1, 7)
    assert [entry["accession_number"] for entry in logs] == ["0000000000-22-000009"]


async def test_logs_carry_no_name(make: Make) -> None:
    with capture_logs() as logs:
        await failure(make, fake(ONE, feed(Response(APPLE_XML.replace(b"<value>D", b"<value>Q")))))
    assert logs
    assert "dams" not in str(logs)


async def test_a_document_of_another_issuer_does_not_count(make: Make) -> None:
    other = APPLE_XML.replace(b"<issuerCik>0000320193<", b"<issuerCik>0001640147<")
    async with serve(fake(ONE, feed(Response(other)))) as url:
        assert (await make(url).ask(about(ADAMS))).finding is None


async def test_every_request_names_us(make: Make) -> None:
    agents = []

    async def index(request: Request) -> Response:
        agents.append(request.headers["user-agent"])
        return await ONE(request)

    async def document(request: Request) -> Response:
        agents.append(request.headers["user-agent"])
        return await XML(request)

    async with serve(fake(index, document)) as url:
        await make(url).ask(about(ADAMS))
    assert agents == [CONTACT, CONTACT]


OLDER = "CIK0000320193-submissions-001.json"


def paged(recent: dict[str, str], older: dict[str, str], asked: list[str]) -> list[Route]:
    async def index(request: Request) -> Response:
        asked.append(request.path_params["name"])
        body = page([older]) if asked[-1] == OLDER else submissions(recent, files=(OLDER,))
        return JSONResponse(body)

    return fake(index, XML)


async def test_older_pages_are_read_while_filings_are_few(make: Make) -> None:
    recent = row("0000320193-22-000099", form="10-K")
    async with serve(paged(recent, row("0000320193-22-000061"), [])) as url:
        assert len(found(await make(url).ask(about(ADAMS))).trades) == 7


async def test_older_pages_are_left_when_filings_are_enough(make: Make) -> None:
    asked: list[str] = []
    recent, older = row("0000320193-22-000061"), row("0000320193-12-000001", "2012-01-01")
    async with serve(paged(recent, older, asked)) as url:
        await make(url, max_filings=1).ask(about(ADAMS))
    assert asked == ["CIK0000320193.json"]


async def test_the_newest_filings_are_read_first(make: Make) -> None:
    older, newer = row("0000000000-20-000001", "2020-01-01"), row("0000000000-22-000002")
    index = feed(JSONResponse(submissions(older, newer)))
    async with serve(fake(index, XML)) as url:
        finding = found(await make(url, max_filings=1).ask(about(ADAMS)))
    assert {trade.accession_number for trade in finding.trades} == {"0000000000-22-000002"}


async def test_the_real_older_page_of_a_company_is_read(make: Make) -> None:
    folder = DATA / "sec/submissions"
    feed_of_tesla = json.loads((folder / "CIK0001318605.json").read_text())
    recent = feed_of_tesla["filings"]["recent"]
    recent.update({column: values[-30:] for column, values in recent.items()})
    ours = [form in ("4", "4/A", "5", "5/A") for form in recent["form"]].count(True)
    asked: list[str] = []

    async def index(request: Request) -> Response:
        if request.path_params["name"] == "CIK0001318605.json":
            return JSONResponse(feed_of_tesla)
        return Response((folder / request.path_params["name"]).read_bytes())

    async def document(request: Request) -> Response:
        asked.append(request.path_params["accession"])
        return await XML(request)

    async with serve(fake(index, document)) as url:
        source = make(url, max_filings=ours + 2, pace=at_once)
        await source.ask(about(Person("Elon Musk", "Tesla", company_cik=1318605)))
    older = json.loads((folder / "CIK0001318605-submissions-001.json").read_text())
    pages = {number.replace("-", "") for number in older["accessionNumber"]}
    assert len(asked) == ours + 2
    assert [accession in pages for accession in asked[-2:]] == [True, True]


async def at_once() -> None:
    """The pace of an engine that lets every request go."""


async def test_the_engines_pace_is_awaited_before_each_request(make: Make, sandbox: str) -> None:
    turns = []

    async def pace() -> None:
        turns.append(1)

    await make(sandbox, pace=pace).ask(about(ADAMS))
    assert len(turns) == 2  # the index and one filing


async def test_a_trade_tells_when_its_filing_was_fetched(make: Make, sandbox: str) -> None:
    finding = found(await make(sandbox).ask(about(ADAMS)))
    assert {trade.fetched_at for trade in finding.trades} == {NOW}
    assert [match.owner_name for match in finding.owner_matches] == ["Adams Katherine L."]


@pytest.mark.parametrize("kind", ["bomb", "external_entity", "html", "malformed", "huge"])
async def test_a_hostile_filing_is_left_out_and_the_run_goes_on(
    make: Make, sandbox_desk: SandboxDesk, kind: str
) -> None:
    # Snowflake's newest filing is Scarpelli's; the one that is spoilt is McMahon's.
    await sandbox_desk.order("sec", kind, path="000000000022000002")
    finding = found(await make(sandbox_desk.url, pace=PACE.wait).ask(about(SCARPELLI)))
    assert (finding.filings_read, len(finding.trades)) == (1, 7)


async def test_at_most_ten_requests_start_in_a_second() -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace, starts = Pace(now=lambda: now, sleep=sleep), []
    for _ in range(35):
        await pace.wait()
        starts.append(now)
    assert max(sum(s <= other < s + 1 for other in starts) for s in starts) == 10
