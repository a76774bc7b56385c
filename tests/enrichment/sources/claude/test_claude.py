"""Claude over real HTTP: only a summary that ended well and passes its check is an answer."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devstack.sandbox import injections
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError, Usage
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.client import Claude
from services.enrichment.sources.claude.prices import PRICES, cost_micros
from services.enrichment.sources.claude.prompt import INSTRUCTIONS
from services.enrichment.sources.exa import Exa
from services.enrichment.sources.facts import facts_of
from services.enrichment.sources.findings import Person, Provenance, Summary, WebFindings, WebPage
from tests.enrichment.sources.claude.test_summary import DATA
from tests.enrichment.sources.serving import serve
from tests.harness import SandboxDesk

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
JANE = Person("Jane Doe", "Acme Corp")
SECRET = "key-4711"
PAGE = WebPage(
    "Jane Doe opens a plant of Acme",
    "https://news.example/1",
    "",
    "It has 45 employees.",
    published_on=NOW.date(),
)
WEB = WebFindings((PAGE,), Provenance(SourceName.EXA, "https://exa.example", "r", NOW))
CALL = SourceCall(JANE, {SourceName.EXA: WEB})
INJECTIONS = injections.load(DATA)


@pytest.fixture
async def claude(sandbox_desk: SandboxDesk) -> AsyncIterator[Claude]:
    source = Claude(sandbox_desk.url, SECRET, "claude-haiku-5-5", clock=lambda: NOW)
    yield source
    await source.close()


async def refused(claude: Claude, call: SourceCall = CALL) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await claude.ask(call)
    return caught.value


def summary(answer: Answer) -> Summary:
    assert isinstance(answer.finding, Summary)
    return answer.finding


async def test_a_summary_names_its_model_and_request(claude: Claude) -> None:
    answer = await claude.ask(CALL)
    found = summary(answer)
    assert (found.kind, found.model) == ("model", "claude-haiku-5-5")
    assert found.facts == facts_of(CALL.findings)
    assert found.provenance.request_id == answer.request_id
    assert answer.request_id.startswith("req_")


async def test_the_instructions_are_cached_from_the_second_call_on(claude: Claude) -> None:
    await claude.ask(CALL)
    usage = (await claude.ask(CALL)).usage
    assert usage is not None
    assert (usage.cache_write_tokens, usage.cache_read_tokens) == (0, len(INSTRUCTIONS) // 4)


def test_the_instructions_are_long_enough_to_be_cached() -> None:
    # 1,024 tokens is the least that the vendor caches; a token is about four characters.
    assert len(INSTRUCTIONS) / 4 > 1_024 * 0.9


@pytest.mark.parametrize(
    ("stop", "error_class"),
    [
        ("refusal", ErrorClass.REFUSED_REQUEST),
        ("max_tokens", ErrorClass.INVALID_ANSWER),
        ("stop_sequence", ErrorClass.INVALID_ANSWER),
        ("tool_use", ErrorClass.INVALID_ANSWER),
        ("pause_turn", ErrorClass.INVALID_ANSWER),
        ("model_context_window_exceeded", ErrorClass.INVALID_ANSWER),
        ("something_new", ErrorClass.INVALID_ANSWER),
    ],
)
async def test_only_end_turn_is_success(
    claude: Claude, sandbox_desk: SandboxDesk, stop: str, error_class: ErrorClass
) -> None:
    await sandbox_desk.order("claude", "stop", value=stop)
    error = await refused(claude)
    assert error.error_class is error_class
    assert error.cost_micros > 0
    assert error.request_id.startswith("req_")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("uncited", "no known fact"), ("wrong_number", "number"), ("stranger", "a word")],
)
async def test_a_text_that_fails_its_check_is_an_invalid_answer_that_was_paid_for(
    claude: Claude, sandbox_desk: SandboxDesk, kind: str, reason: str
) -> None:
    await sandbox_desk.order("claude", kind)
    error = await refused(claude)
    assert error.error_class is ErrorClass.INVALID_ANSWER
    assert reason in error.message
    assert error.cost_micros > 0


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda each: each.id)
async def test_a_page_that_gives_orders_changes_nothing_even_with_a_naive_model(
    claude: Claude, sandbox_desk: SandboxDesk, injection: injections.Injection
) -> None:
    poisoned = replace(PAGE, excerpt=injection.text)
    before = summary(await claude.ask(CALL))
    await sandbox_desk.order("claude", "obedient")
    pages = replace(WEB, pages=(poisoned, PAGE))
    after = summary(await claude.ask(replace(CALL, findings={SourceName.EXA: pages})))
    assert (after.sentences, after.facts) == (before.sentences, before.facts)


@pytest.mark.parametrize("injection", INJECTIONS, ids=lambda each: each.id)
async def test_a_model_that_obeys_all_the_same_is_caught_and_leaks_nothing(
    claude: Claude, sandbox_desk: SandboxDesk, injection: injections.Injection
) -> None:
    await sandbox_desk.order("claude", "obedient", value=injection.id)
    error = await refused(claude)
    assert error.error_class is ErrorClass.INVALID_ANSWER
    assert injection.obeyed[:20] not in error.message


async def test_poisoned_pages_from_the_search_leave_the_others_standing(
    claude: Claude, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "injection")
    exa = Exa(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    pages = (await exa.ask(CALL)).finding
    assert isinstance(pages, WebFindings)
    await sandbox_desk.order("claude", "obedient")
    found = summary(await claude.ask(replace(CALL, findings={SourceName.EXA: pages})))
    assert len(pages.pages) == 5
    assert [fact.text.split(" (")[0] for fact in found.facts] == [
        "Jane Doe Acme Corp speaks about priorities for the coming year"
    ]


async def test_without_facts_nothing_is_asked(claude: Claude, sandbox_desk: SandboxDesk) -> None:
    poisoned = replace(WEB, pages=(replace(PAGE, excerpt=INJECTIONS[0].text),))
    answer = await claude.ask(replace(CALL, findings={SourceName.EXA: poisoned}))
    assert answer == Answer(None)
    assert await sandbox_desk.calls("claude") == 0


async def test_a_redirect_is_not_followed(claude: Claude, sandbox_desk: SandboxDesk) -> None:
    await sandbox_desk.order("claude", "redirect", value=f"{sandbox_desk.url}/v1/messages")
    assert (await refused(claude)).error_class is ErrorClass.INVALID_ANSWER
    assert await sandbox_desk.calls("claude") == 1


async def test_an_answer_that_came_compressed_unasked_is_not_decompressed() -> None:
    async def respond(request: Request) -> Response:
        assert request.headers["accept-encoding"] == "identity"
        return Response(gzip.compress(b" " * 50_000_000), headers={"content-encoding": "gzip"})

    async with serve([Route("/v1/messages", respond, methods=["POST"])]) as url:
        source = Claude(url, SECRET, "claude-haiku-5-5", clock=lambda: NOW)
        error = await refused(source)
        await source.close()
    assert (error.error_class, "packed" in error.message) == (ErrorClass.INVALID_ANSWER, True)


# --- prices -------------------------------------------------------------------------------------


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(1_000, 100, 2_000, 10_000)
    # 1,000 x $2 + 100 x $10 + 2,000 x $2.50 + 10,000 x $0.10, each for a million
    assert cost_micros("claude-sonnet-5-5", usage) == 2_000 + 1_000 + 5_000 + 1_000


def test_the_longest_name_that_fits_has_the_price() -> None:
    tokens = Usage(cache_read_tokens=1_000_000)
    assert cost_micros("claude-sonnet-5", tokens) == 200_000
    assert cost_micros("claude-sonnet-5-5", tokens) == 100_000
    assert cost_micros("claude-haiku-4-5-20251001", Usage(1_000)) == 1_000


def test_an_unknown_model_costs_the_most() -> None:
    most = max(cost_micros(name, Usage(1_000, 1_000)) for name in PRICES)
    assert cost_micros("claude-next", Usage(1_000, 1_000)) >= most


def test_a_part_of_a_micro_dollar_is_a_whole_one() -> None:
    assert cost_micros("claude-haiku-5-5", Usage(1)) == 1
