"""Exa's answers in every shape that was seen, and its errors by tag."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.exa import Exa
from services.enrichment.sources.findings import Person, WebFindings
from services.enrichment.sources.http import certificates
from tests.enrichment.sources.serving import serve
from tests.harness import SandboxDesk

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CALL = SourceCall(Person("Jane Doe", "Acme Corp"), {})
PAGE = {"url": "https://news.example/1", "title": "Jane Doe of Acme", "text": "She spoke."}
Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Ask an Exa that answers just this."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(verify=certificates()))

        async def against(answer: Any, status: int = 200) -> Answer:
            async def respond(request: Request) -> Response:
                return JSONResponse(answer, status)

            url = await stack.enter_async_context(
                serve([Route("/search", respond, methods=["POST"])])
            )
            return await Exa(client, url, "key", clock=lambda: NOW).ask(CALL)

        yield against


def results(*pages: Any, **more: Any) -> dict[str, Any]:
    return {"requestId": "r-1", "results": list(pages), "costDollars": {"total": 0.007}} | more


def pages(answer: Answer) -> WebFindings:
    assert isinstance(answer.finding, WebFindings)
    return answer.finding


async def test_a_page_is_read_with_its_source(ask: Ask) -> None:
    answer = await ask(results(PAGE | {"publishedDate": "2026-03-12T09:00:00.000Z"}))
    (page,) = pages(answer).pages
    assert (page.url, page.published_on) == (PAGE["url"], date(2026, 3, 12))
    assert (answer.cost_micros, answer.request_id) == (7_000, "r-1")
    assert pages(answer).provenance.request_id == "r-1"


@pytest.mark.parametrize(
    ("fields", "excerpt"),
    [
        ({"text": "a"}, "a"),
        ({"text": None, "highlights": ["a", "b"]}, "a b"),
        ({"text": None, "highlights": "a"}, "a"),
        ({"text": None, "summary": "a"}, "a"),
        ({"text": 7}, ""),
        ({"text": "x" * 5_000}, "x" * 1_000),
    ],
)
async def test_the_excerpt_is_what_there_is_of_text(
    ask: Ask, fields: dict[str, Any], excerpt: str
) -> None:
    (page,) = pages(await ask(results(PAGE | fields))).pages
    assert page.excerpt == excerpt


@pytest.mark.parametrize(
    "page",
    [
        {"url": "javascript:alert(1)"},
        {"url": None},
        {"title": "Boris Nowhere", "text": "of Widgets"},
        "no object",
    ],
)
async def test_a_page_without_address_or_about_others_is_left_out(ask: Ask, page: Any) -> None:
    broken = PAGE | page if isinstance(page, dict) else page
    assert len(pages(await ask(results(broken, PAGE))).pages) == 1


async def test_nothing_found_was_paid_for(ask: Ask) -> None:
    assert await ask(results()) == Answer(None, 7_000, "r-1")


@pytest.mark.parametrize(
    ("status", "tag", "error_class"),
    [
        (402, "NO_MORE_CREDITS", ErrorClass.QUOTA),
        (402, "API_KEY_BUDGET_EXCEEDED", ErrorClass.QUOTA),
        (402, "SOMETHING_NEW", ErrorClass.QUOTA),
        (403, "SOMETHING_NEW", ErrorClass.AUTH),
        (403, "PROHIBITED_CONTENT", ErrorClass.REFUSED_REQUEST),
        (403, "TEAM_BLOCKED", ErrorClass.AUTH),
        (401, "INVALID_API_KEY", ErrorClass.AUTH),
        (422, "UNPROCESSABLE", ErrorClass.REFUSED_REQUEST),
        (400, "INVALID_REQUEST_BODY", ErrorClass.REFUSED_REQUEST),
        (429, "SOMETHING_NEW", ErrorClass.THROTTLED),
        (504, "SOMETHING_NEW", ErrorClass.TRANSIENT),
        (200, "NO_MORE_CREDITS", ErrorClass.QUOTA),
        (200, "SOMETHING_NEW", ErrorClass.INVALID_ANSWER),
    ],
)
async def test_the_class_of_an_error_follows_its_tag_or_else_its_status(
    ask: Ask, status: int, tag: str, error_class: ErrorClass
) -> None:
    with pytest.raises(SourceError) as caught:
        await ask({"requestId": "r-2", "error": "Jane Doe", "tag": tag}, status)
    error = caught.value
    assert (error.error_class, error.request_id) == (error_class, "r-2")
    assert "Jane" not in error.message
    assert "NEW" not in error.message  # what the vendor may write there we do not know


@pytest.mark.parametrize("broken", [{"results": None}, {"results": {}}, {"error": "no"}])
async def test_an_answer_without_results_was_paid_for(ask: Ask, broken: dict[str, Any]) -> None:
    with pytest.raises(SourceError) as caught:
        await ask(results(PAGE, **broken))
    assert (caught.value.error_class, caught.value.cost_micros) == (
        ErrorClass.INVALID_ANSWER,
        7_000,
    )


@pytest.mark.parametrize(
    ("cost", "micros"),
    [
        ({"total": 0.0105}, 10_500),
        ({"total": "0.5"}, 500_000),
        ({"total": 7e-3}, 7_000),
        ({"total": 0}, 0),
    ],
)
async def test_the_cost_is_exact(ask: Ask, cost: Any, micros: int) -> None:
    assert (await ask(results(PAGE, costDollars=cost))).cost_micros == micros


@pytest.mark.parametrize(
    "cost",
    [
        *({"total": odd} for odd in (-1, "NaN", None, True, 10**9, [0.007])),
        {},
        [],
        "free",
        None,
    ],
)
async def test_a_cost_that_is_not_told_is_the_list_price_and_logged(ask: Ask, cost: Any) -> None:
    with capture_logs() as lines:
        assert (await ask(results(PAGE, costDollars=cost))).cost_micros == 7_000
    assert [(line["source"], line["counted_micros"]) for line in lines] == [("exa", 7_000)]


async def test_the_sandbox_answers_without_a_cost_and_refuses_a_query(
    sandbox_desk: SandboxDesk,
) -> None:
    source = Exa(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    await sandbox_desk.order("exa", "unpriced")
    assert (await source.ask(CALL)).cost_micros == 7_000
    await sandbox_desk.order("exa", "refusal", value="PROHIBITED_CONTENT")
    with pytest.raises(SourceError) as caught:
        await source.ask(CALL)
    assert caught.value.error_class is ErrorClass.REFUSED_REQUEST
