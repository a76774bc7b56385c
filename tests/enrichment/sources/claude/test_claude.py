"""Claude over real HTTP: only a summary that ended well and passes its check is an answer."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.sandbox import injections
from services.enrichment.settings import Settings
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.claude.client import Claude
from services.enrichment.sources.claude.models import MODELS
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
        ("max_tokens", ErrorClass.CUT_SHORT),
        ("stop_sequence", ErrorClass.INVALID_ANSWER),
        ("tool_use", ErrorClass.INVALID_ANSWER),
        ("pause_turn", ErrorClass.INVALID_ANSWER),
        ("model_context_window_exceeded", ErrorClass.REFUSED_REQUEST),
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


async def test_what_does_not_fit_is_ours_and_gets_more_room_the_next_time() -> None:
    rooms = []

    async def respond(request: Request) -> Response:
        asked = await request.json()
        rooms.append(asked["max_tokens"])
        usage = {"input_tokens": 900, "output_tokens": asked["max_tokens"]}
        thoughts = [{"type": "thinking", "thinking": "", "signature": "x"}]
        answer = {"content": thoughts, "stop_reason": "max_tokens", "usage": usage}
        return JSONResponse(answer, headers={"request-id": "req_1"})

    async with serve([Route("/v1/messages", respond, methods=["POST"])]) as url:
        source = Claude(url, SECRET, "claude-opus-5-5", clock=lambda: NOW)
        errors = [await refused(source, replace(CALL, failures=number)) for number in (0, 1)]
        await source.close()
    row = MODELS["claude-opus-5-5"]
    assert rooms == [row.max_tokens, row.more_tokens]
    assert {(each.error_class, each.of_source) for each in errors} == {
        (ErrorClass.CUT_SHORT, False)
    }
    assert errors[0].cost_micros == 900 * 4 + row.max_tokens * 20


@pytest.mark.parametrize("model", MODELS)
async def test_every_model_is_asked_as_it_takes_it_and_leaves_room_for_an_answer(
    sandbox_desk: SandboxDesk, model: str
) -> None:
    source = Claude(sandbox_desk.url, SECRET, model, clock=lambda: NOW)
    answer = await source.ask(CALL)
    await source.close()
    assert summary(answer).sentences


async def test_the_default_model_does_not_think_first(sandbox_desk: SandboxDesk) -> None:
    model = Settings.model_fields["claude_model"].default
    source = Claude(sandbox_desk.url, SECRET, model, clock=lambda: NOW)
    usage = (await source.ask(CALL)).usage
    await source.close()
    assert usage
    assert usage.output_tokens < 200


@pytest.mark.parametrize(
    ("value", "error_class"),
    [
        ("credit_balance", ErrorClass.QUOTA),
        ("usage_limits", ErrorClass.QUOTA),
        ("billing", ErrorClass.QUOTA),
        ("retired_model", ErrorClass.CONFIGURATION),
        ("thinking", ErrorClass.CONFIGURATION),
        ("messages: too many", ErrorClass.REFUSED_REQUEST),
    ],
)
async def test_an_error_without_a_code_is_told_by_its_message(
    claude: Claude, sandbox_desk: SandboxDesk, value: str, error_class: ErrorClass
) -> None:
    await sandbox_desk.order("claude", "refusal", value=value)
    error = await refused(claude)
    assert error.error_class is error_class
    assert ("PROSPECT_CLAUDE_MODEL" in error.message) == (error_class is ErrorClass.CONFIGURATION)


async def test_a_model_that_is_not_there_is_named(sandbox_desk: SandboxDesk) -> None:
    source = Claude(sandbox_desk.url, SECRET, "claude-sonnet-4-20250514", clock=lambda: NOW)
    error = await refused(source)
    await source.close()
    assert error.error_class is ErrorClass.CONFIGURATION
    assert "claude-sonnet-4-20250514 cannot be asked so" in error.message


async def test_an_answer_that_tells_no_usage_costs_the_most(
    claude: Claude, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("claude", "unpriced")
    answer = await claude.ask(CALL)
    assert (answer.cost_micros, answer.usage) == (SOURCES[SourceName.CLAUDE].max_cost_micros, None)


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
