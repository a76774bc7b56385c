"""What the SEC client makes of an EDGAR that fails, throttles or answers something else."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from services.enrichment.sources.call import ErrorClass, SourceError
from services.enrichment.sources.findings import Person
from services.enrichment.sources.http import certificates
from tests.enrichment.sources.edgar.fake_edgar import (
    ADAMS,
    APPLE_XML,
    ONE,
    SCARPELLI,
    XML,
    Make,
    about,
    fake,
    feed,
    found,
    page,
    row,
    submissions,
)
from tests.enrichment.sources.serving import PACE, serve
from tests.harness import SandboxDesk


async def test_without_a_contact_edgar_throttles(make: Make, sandbox: str) -> None:
    with pytest.raises(SourceError) as caught:
        await make(sandbox, user_agent="python").ask(about(ADAMS))
    assert caught.value.error_class is ErrorClass.THROTTLED
    assert caught.value.retry_after == 600


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


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("path", ["/submissions", "/Archives"])
async def test_edgars_page_for_undeclared_tools_throttles_with_any_status(
    make: Make, sandbox_desk: SandboxDesk, status: int, path: str
) -> None:
    await sandbox_desk.order("sec", "blocked", value=status, path=path)
    with pytest.raises(SourceError) as caught:
        await make(sandbox_desk.url, pace=PACE.wait).ask(about(ADAMS))
    assert (caught.value.error_class, caught.value.retry_after) == (ErrorClass.THROTTLED, 600)
    assert caught.value.message == f"SEC answered {status} undeclared_automated_tool"


async def test_the_page_for_too_many_requests_throttles_with_any_status(make: Make) -> None:
    page = "<html><title>SEC.gov | Request Rate Threshold Exceeded</title></html>"
    error = await failure(make, fake(feed(HTMLResponse(page)), XML))
    assert (error.error_class, error.retry_after) == (ErrorClass.THROTTLED, 600)


@pytest.mark.parametrize("odd", ["utf16", "bad_declaration", "year_2035", "year_0022"])
async def test_an_odd_filing_that_can_be_read_is_read(
    make: Make, sandbox_desk: SandboxDesk, odd: str
) -> None:
    await sandbox_desk.order("sec", "odd_filing", value=odd, path="/Archives")
    finding = found(await make(sandbox_desk.url, pace=PACE.wait).ask(about(ADAMS)))
    assert sum(bool(trade.in_doubt) for trade in finding.trades) == odd.startswith("year")
    assert len(finding.trades) == 7


@pytest.mark.parametrize("odd", ["two_documents", "lost_value", "lost_code", "separator"])
async def test_an_odd_filing_that_may_have_lost_something_is_left_out(
    make: Make, sandbox_desk: SandboxDesk, odd: str
) -> None:
    await sandbox_desk.order("sec", "odd_filing", value=odd, path="000000000022000002")
    finding = found(await make(sandbox_desk.url, pace=PACE.wait).ask(about(SCARPELLI)))
    assert (finding.filings_read, finding.filings_unread) == (1, 1)


async def test_the_sandboxs_amendment_adds_its_row(make: Make, sandbox_desk: SandboxDesk) -> None:
    jane = Person("Jane Roe", "Acme", company_cik=999)
    trades = found(await make(sandbox_desk.url, pace=PACE.wait).ask(about(jane))).trades
    assert sorted(trade.transaction_code for trade in trades) == ["G", "P", "S"]


@pytest.mark.parametrize("kind", ["bomb", "external_entity", "html", "malformed", "huge"])
async def test_a_hostile_filing_is_left_out_and_the_run_goes_on(
    make: Make, sandbox_desk: SandboxDesk, kind: str
) -> None:
    # Snowflake's newest filing is Scarpelli's; the one that is spoilt is McMahon's.
    await sandbox_desk.order("sec", kind, path="000000000022000002")
    finding = found(await make(sandbox_desk.url, pace=PACE.wait).ask(about(SCARPELLI)))
    assert (finding.filings_read, len(finding.trades)) == (1, 7)
