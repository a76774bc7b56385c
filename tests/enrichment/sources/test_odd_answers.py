"""Vendors' answers of any form: read by the real clients, saved, and shown; paid for once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import prospect_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from chassis.database import tenant_transaction
from devstack import servers
from devstack.sandbox.odd_json import NAMES
from services.cli.operate.services import ServiceName
from services.enrichment.reading import messages, store
from services.enrichment.sources.call import Answer, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import to_json
from services.enrichment.sources.http import certificates
from tests.enrichment.engine import ADA, Engine, Sources, engine
from tests.enrichment.sources.case import Source
from tests.enrichment.sources.cases import case_of
from tests.enrichment.sources.serving import serve
from tests.enrichment.sources.test_vendor_json import TEXTS, VALUES
from tests.enrichment.test_service import finished, sandbox_settings, statuses
from tests.harness import Database, Identity, SandboxDesk, Services

PAID = tuple(name for name in SourceName if SOURCES[name].is_paid)
REFUSED = frozenset({"too_deep"})


@pytest.mark.parametrize("name", NAMES)
async def test_a_paid_answer_is_kept_whatever_odd_is_in_it(
    services: Services, sandbox_desk: SandboxDesk, ours: Identity, name: str
) -> None:
    for source in PAID:
        await sandbox_desk.order(source, "odd_json", value=name, times=9)
    settings_of_it = sandbox_settings(sandbox_desk.url)
    async with services.running(ServiceName.ENRICHMENT, **settings_of_it) as channel:
        prospect = await finished(grpc_api.EnrichmentServiceStub(channel), ours)
    steps = {step.source: step for step in prospect.enrichment_source_status}
    for source in PAID:
        is_asked = source is not SourceName.CLAUDE or name not in REFUSED
        assert await sandbox_desk.calls(source) == is_asked, source
        assert 0 <= steps[source].cost_micros <= SOURCES[source].max_cost_micros
    kept = {source: statuses(prospect)[source] for source in PAID}
    if name in REFUSED:
        assert kept[SourceName.EXA] == kept[SourceName.CONTACTOUT] == "FAILED"
    else:
        assert set(kept.values()) == {"COMPLETE"}


# --- any JSON at all ----------------------------------------------------------------------------

NAMED = {"full_name": ADA.name, "email": ["ada@engines.test"]}
PAGE = {"url": "https://news.test/1", "title": f"{ADA.name} speaks"}
ANY = VALUES | TEXTS.map(lambda text: f"{ADA.name} {text}")


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these fields, and others, with anything in them."""
    known = st.fixed_dictionaries({}, optional=dict.fromkeys(names, ANY))
    return st.tuples(st.dictionaries(TEXTS, VALUES, max_size=3), known).map(
        lambda both: both[0] | both[1]
    )


GOOD: Mapping[SourceName, st.SearchStrategy[dict[str, Any]]] = {
    SourceName.CONTACTOUT: st.tuples(
        fields("message"),
        fields("headline", "company", "url", "phone", "work_email", "personal_email"),
    ).map(lambda both: both[0] | {"status_code": 200, "profile": both[1] | NAMED}),
    SourceName.EXA: st.tuples(
        fields("requestId", "costDollars"),
        fields("text", "highlights", "summary", "author", "publishedDate"),
        st.lists(VALUES, max_size=3),
    ).map(lambda parts: parts[0] | {"results": [*parts[2], parts[1] | PAGE]}),
    SourceName.CLAUDE: st.tuples(
        fields("id", "model", "usage"), fields("sentences"), fields("type")
    ).map(
        lambda parts: (
            parts[0]
            | {
                "stop_reason": "end_turn",
                "content": [parts[2], {"type": "text", "text": json.dumps(parts[1])}],
            }
        )
    ),
}
ROUTES = {
    SourceName.CONTACTOUT: "/v1/people/enrich",
    SourceName.EXA: "/search",
    SourceName.CLAUDE: "/v1/messages",
}
JUST_A_FEW = settings(
    max_examples=25,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Vendor:
    """A vendor that answers just this, and counts how often."""

    source: SourceName
    body: Any
    escaped: bool
    calls: int = 0

    async def client(self, stack: AsyncExitStack) -> Source:
        """Return the real client of the source, which asks this vendor."""
        text = json.dumps(self.body, ensure_ascii=self.escaped).encode(errors="surrogatepass")

        async def respond(_: Request) -> Response:
            self.calls += 1
            return Response(text, media_type="application/json")

        route = Route(ROUTES[self.source], respond, methods=["POST"])
        url = await stack.enter_async_context(serve([route]))
        http = await stack.enter_async_context(httpx.AsyncClient(verify=certificates()))
        client = case_of(self.source).make(url, http, 10)
        if close := getattr(client, "close", None):
            stack.push_async_callback(close)
        return client


@JUST_A_FEW
@given(
    bodies=st.tuples(GOOD[SourceName.CONTACTOUT], GOOD[SourceName.EXA]),
    escaped=st.booleans(),
)
def test_an_answer_of_the_promised_form_is_kept_shown_and_paid_once(
    shared_database: Database, nats_server: servers.Nats, bodies: tuple[Any, Any], escaped: bool
) -> None:
    names = (SourceName.CONTACTOUT, SourceName.EXA)
    vendors = [Vendor(name, body, escaped) for name, body in zip(names, bodies, strict=True)]

    async def run() -> prospect_pb2.Prospect:
        async with AsyncExitStack() as stack:
            sources = Sources()
            for vendor in vendors:
                sources.answers[vendor.source] = (await vendor.client(stack)).ask
            dsn = shared_database.dsn("enrichment_app")
            one = await stack.enter_async_context(engine(dsn, nats_server.url, sources))
            return await shown(one)

    with capture_logs() as lines:
        prospect = asyncio.run(run())
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert [vendor.calls for vendor in vendors] == [1, 1]
    assert prospect.contact_data.full_name == ADA.name
    assert prospect.web_data.pages[-1].title == PAGE["title"]


WRONG_FORM: Mapping[SourceName, Any] = {
    SourceName.CONTACTOUT: {"status_code": 200, "error": "no", "profile": NAMED},
    SourceName.EXA: {"results": {"a": 1}, "costDollars": []},
    SourceName.CLAUDE: {"content": None, "stop_reason": "end_turn"},
}


@pytest.mark.parametrize("source", PAID)
async def test_an_answer_of_the_wrong_form_is_paid_once(
    database: Database, nats_server: servers.Nats, source: SourceName
) -> None:
    vendor = Vendor(source, WRONG_FORM[source], escaped=True)
    async with AsyncExitStack() as stack:
        sources = Sources()
        sources.answers[source] = (await vendor.client(stack)).ask
        dsn = database.dsn("enrichment_app")
        one = await stack.enter_async_context(engine(dsn, nats_server.url, sources))
        prospect = await shown(one)
    (step,) = [each for each in prospect.enrichment_source_status if each.source == source]
    assert vendor.calls == 1
    assert 0 <= step.cost_micros <= SOURCES[source].max_cost_micros


async def shown(one: Engine) -> prospect_pb2.Prospect:
    """Run an enrichment to its end and return the prospect as GetProspect shows it."""
    accepted = await one.accept(replace(ADA, is_public_company=False))
    run, steps = await one.ended(accepted.run_id)
    async with tenant_transaction(one.pool, one.tenant_id) as connection:
        row = await store.get_prospect(connection, one.tenant_id, accepted.prospect_id)
    assert row
    message = messages.prospect_message(row, steps, run["steps"])
    messages.add_findings(message, row)
    return message


@JUST_A_FEW
@given(
    source=st.sampled_from(PAID).flatmap(
        lambda name: st.tuples(st.just(name), GOOD[name] | VALUES)
    ),
    escaped=st.booleans(),
)
def test_whatever_json_a_vendor_answers_is_a_finding_that_can_be_stored_or_an_error(
    source: tuple[SourceName, Any], escaped: bool
) -> None:
    async def ask() -> Answer | SourceError:
        async with AsyncExitStack() as stack:
            client = await Vendor(*source, escaped).client(stack)
            try:
                return await client.ask(case_of(source[0]).found)
            except SourceError as error:
                return error

    outcome = asyncio.run(ask())
    assert 0 <= outcome.cost_micros <= SOURCES[source[0]].max_cost_micros
    said = outcome.message if isinstance(outcome, SourceError) else to_json(outcome.finding)
    text = json.dumps([outcome.request_id, said], ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in text
    text.encode()
