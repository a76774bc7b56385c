"""What an answer is compared with is what the clients read in it."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest

from services.enrichment.sources.call import Answer, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.client import Claude
from services.enrichment.sources.expected_fields import SHAPES, compare
from services.enrichment.sources.http import certificates, hearing
from tests.enrichment.sources.cases import case_of
from tests.harness import SandboxDesk

every_source = pytest.mark.parametrize("source", SourceName)
NEEDED = [
    (source, each.path) for source in SourceName for each in SHAPES[source].fields if each.is_needed
]
Ask = Callable[[SourceName, Any], Awaitable[tuple[Any, dict[str, Any]]]]


@pytest.fixture
async def ask(sandbox_desk: SandboxDesk) -> AsyncIterator[Ask]:
    """Ask a source, which gives this answer where one is given; return outcome and answer."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(verify=certificates()))

        async def asked(source: SourceName, answer: Any = None) -> tuple[Any, dict[str, Any]]:
            if answer is not None:
                await sandbox_desk.order(source, "body", value=json.dumps(answer))
            case = case_of(source)
            made = case.make(sandbox_desk.url, client, 20)
            if isinstance(made, Claude):
                stack.push_async_callback(made.close)
            outcome: Answer | str
            with hearing() as heard:
                try:
                    outcome = replace(await made.ask(case.found), request_id="")
                except SourceError as error:
                    outcome = error.message
            return outcome, heard[0]

        yield asked


def changed(
    answer: dict[str, Any], path: str, change: Callable[[dict[str, Any], str], None]
) -> Any:
    """Return the answer with the field at a path changed in each object that has it."""
    answer = copy.deepcopy(answer)
    parents: list[Any] = [answer]
    *folders, name = path.split(".")
    for folder in folders:
        values = [parent[folder.removesuffix("[]")] for parent in parents]
        parents = [
            each for value in values for each in (value if isinstance(value, list) else [value])
        ]
    for parent in parents:
        change(parent, name)
    return answer


def without(parent: dict[str, Any], name: str) -> None:
    parent.pop(name)


def as_yes(parent: dict[str, Any], name: str) -> None:
    parent[name] = True


def renamed(parent: dict[str, Any], name: str) -> None:
    parent[f"{name}V2"] = parent.pop(name)


@every_source
async def test_the_sandboxs_answer_fits(ask: Ask, source: SourceName) -> None:
    _, answer = await ask(source, None)
    compared = compare(source, answer)
    assert [each.field.path for each in compared.fields if each.state != "fits"] == []
    assert compared.new == []


@pytest.mark.parametrize(("source", "path"), NEEDED)
async def test_what_a_client_needs_it_does_not_do_without(
    ask: Ask, source: SourceName, path: str
) -> None:
    _, answer = await ask(source, None)
    if source is SourceName.EXA:
        answer["costDollars"]["total"] = 0.005
    outcome, _ = await ask(source, answer)
    less, _ = await ask(source, changed(answer, path, without))
    assert less != outcome


@every_source
async def test_each_field_that_is_renamed_or_of_another_form_is_told(
    ask: Ask, source: SourceName
) -> None:
    _, answer = await ask(source, None)
    for each in SHAPES[source].fields:
        told = compare(source, changed(answer, each.path, renamed))
        (state,) = (found for found in told.fields if found.field == each)
        assert (state.state, state.is_drift) == ("absent", each.is_needed)
        assert told.new == [f"{each.path}V2"]
        odd = compare(source, changed(answer, each.path, as_yes))
        (state,) = (found for found in odd.fields if found.field == each)
        assert (state.state, state.came, state.is_drift) == ("changed", "yes or no", True)


def test_a_field_that_some_objects_lack_says_in_how_many_it_came() -> None:
    answer = {"results": [{"url": "https://a.example", "text": "a"}, {"url": "https://b.example"}]}
    found = {each.field.path: each.came for each in compare(SourceName.EXA, answer).fields}
    assert (found["results[].url"], found["results[].text"]) == ("text", "text, in 1 of 2")


def test_contactouts_two_spellings_are_one_field() -> None:
    answer = {"statusCode": 200, "profile": {"fullName": "Jane Roe", "workEmail": "w@acme.example"}}
    compared = compare(SourceName.CONTACTOUT, answer)
    states = {each.field.path: each.state for each in compared.fields}
    assert states["profile.full_name"] == states["profile.work_email"] == "fits"
    assert compared.new == []
