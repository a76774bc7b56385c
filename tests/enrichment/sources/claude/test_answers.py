"""Answers as the vendor gives them: what each means, what it cost, and whose fault it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.client import Claude
from services.enrichment.sources.findings import Contact, Person, Provenance, Summary
from tests.enrichment.sources.serving import serve

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANSWERS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data/answers.json").read_text()
)
WHERE = Provenance(SourceName.CONTACTOUT, "", "", NOW)
ROE = Contact(
    "Jane Roe", "CFO at Acme Corp", "Acme Corp", "", ("jane@acme.test",), (), (), WHERE
)  # fmt: skip
CALL = SourceCall(Person("Jane Roe", "Acme Corp"), {SourceName.CONTACTOUT: ROE})


async def outcome(given: dict[str, Any]) -> Answer | SourceError:
    body = given["body"] if isinstance(given["body"], str) else json.dumps(given["body"])

    async def respond(request: Request) -> Response:
        headers = {"content-type": "application/json"} | given["headers"]
        return Response(body, given["status"], headers)

    async with serve([Route("/v1/messages", respond, methods=["POST"])]) as url:
        source = Claude(url, "key", "claude-sonnet-5-5", clock=lambda: NOW)
        try:
            return await source.ask(CALL)
        except SourceError as error:
            return error
        finally:
            await source.close()


@pytest.mark.parametrize("given", ANSWERS, ids=lambda each: each["name"])
async def test_an_answer_means_what_it_says_and_costs_what_it_cost(given: dict[str, Any]) -> None:
    came = await outcome(given)
    assert came.cost_micros == given["cost_micros"]
    if isinstance(came, SourceError):
        assert came.error_class == given["wanted"]
        assert came.of_source == (came.error_class is not ErrorClass.CUT_SHORT)
    else:
        assert isinstance(came.finding, Summary)
        assert [each.text for each in came.finding.sentences] == ["Jane Roe is CFO at Acme Corp."]
        assert given["wanted"] == "complete"
