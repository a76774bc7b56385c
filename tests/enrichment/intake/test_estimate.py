"""EstimateEnrichment: which calls would be made, reused or denied; nothing is spent or written."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prospect.enrichment.v1 import operations_pb2 as pb

from services.enrichment.policy.suppression import Hasher
from services.enrichment.sources.catalogue import SOURCES, SourceName
from tests.enrichment.policy.test_policy import allow
from tests.enrichment.rows import Rows
from tests.enrichment.test_service import APPLE, finished
from tests.harness import Database, Identity, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

CONTACTOUT, EXA, SEC = SourceName.CONTACTOUT, SourceName.EXA, SourceName.SEC
CLAUDE = SourceName.CLAUDE
COST = {source: row.max_cost_micros for source, row in SOURCES.items()}


def person(**values: Any) -> pb.EstimatedProspect:
    """Return somebody."""
    given = {"name": "Ada Lovelace", "company": "Analytical Engines"}
    return pb.EstimatedProspect(**{**given, **values})


async def estimate(
    enrichment: EnrichmentServiceAsyncStub,
    who: Identity,
    *people: pb.EstimatedProspect,
    force: bool = False,
) -> tuple[pb.EstimateEnrichmentResponse, dict[str, pb.SourceEstimate]]:
    """Return the estimate, and each source's."""
    request = pb.EstimateEnrichmentRequest(prospects=people, force=force)
    answer = await enrichment.EstimateEnrichment(request, metadata=who.metadata())
    return answer, {each.source: each for each in answer.sources}


async def test_new_prospects_would_be_asked_about_everywhere(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    known = {"email": "ada@engines.example", "linkedin_url": "https://linkedin.com/in/ada"}
    answer, by_source = await estimate(enrichment, ours, person(**APPLE, **known), person())
    assert list(by_source) == [source.value for source in SourceName]
    assert [by_source[s.value].calls for s in (CONTACTOUT, EXA, SEC, CLAUDE)] == [2, 2, 1, 2]
    assert by_source["sec"].skipped == 1
    # One by one: profile, address and name; the other by name only.
    assert by_source["contactout"].most_cost_micros == 4 * COST[CONTACTOUT]
    assert by_source["sec"].most_cost_micros == 0
    assert answer.most_cost_micros == 4 * COST[CONTACTOUT] + 2 * COST[EXA] + 2 * COST[CLAUDE]
    assert (answer.left_today_micros, answer.in_flight) == (-1, 0)
    for table in ("prospects", "runs", "spending", "flows", "policies"):
        assert await database.fetch(f"select from enrichment.{table}") == []


async def test_fresh_answers_are_reused_unless_forced(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    prospect = await finished(enrichment, ours)
    known = pb.EstimatedProspect(prospect_id=prospect.prospect_id)
    answer, by_source = await estimate(enrichment, ours, known)
    assert [by_source[s.value].fresh for s in (CONTACTOUT, EXA, SEC, CLAUDE)] == [1, 1, 0, 1]
    assert (by_source["sec"].skipped, answer.most_cost_micros) == (1, 0)
    _, by_source = await estimate(enrichment, ours, known, force=True)
    assert [by_source[s.value].calls for s in (CONTACTOUT, EXA)] == [1, 1]


async def test_an_estimate_is_what_the_request_then_does(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    _, by_source = await estimate(enrichment, ours, person(**APPLE))
    prospect = await finished(enrichment, ours, **APPLE)
    called = {step.source: step.attempts for step in prospect.enrichment_source_status}
    assert called == {source: each.calls for source, each in by_source.items()}


async def test_an_estimate_heeds_budgets_suppression_and_policy(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    off = {"exa": {"is_enabled": False, "fresh_for_seconds": 0, "day_budget_micros": 0}}
    limit = 2 * COST[CONTACTOUT] + COST[CLAUDE]
    await allow(database, ours.tenant_id, day_budget_micros=limit, sources=json.dumps(off))
    for key in Hasher(b"for tests, as long as it should be").keys(
        ours.tenant_id, ["x@y.example"], [], "", ""
    ):
        await database.fetch(
            "insert into enrichment.suppressions (tenant_id, digest, kind) values ($1, $2, $3)",
            ours.tenant_id,
            key.keyed_hash,
            key.kind,
        )
    on_the_list = person(email="x@y.example")
    answer, by_source = await estimate(enrichment, ours, on_the_list, person(), person(), person())
    assert by_source["exa"].skipped == 4
    contact = by_source["contactout"]
    assert (contact.suppressed, contact.calls, contact.budget_denied) == (1, 2, 1)
    claude = by_source["claude"]
    # Of the suppressed and of the denied there would be nothing to summarise.
    assert (claude.calls, claude.budget_denied, claude.skipped) == (1, 1, 2)
    assert answer.left_today_micros == limit
    assert await database.fetch("select from enrichment.spending") == []


async def test_an_estimate_says_until_when_a_source_is_parked(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    pause = pb.PauseSourceRequest(source="exa", reason="maintenance")
    await enrichment.PauseSource(pause, metadata=ours.metadata())
    _, by_source = await estimate(enrichment, ours, person())
    assert "maintenance" in by_source["exa"].parked_reason
    assert by_source["exa"].HasField("parked_until")
    assert not by_source["contactout"].HasField("parked_until")


async def test_prospects_with_a_run_under_way_are_counted_apart(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows, database: Database
) -> None:
    prospect_id = await rows.prospect()
    run_id = await rows.run(prospect_id, status="pending", steps={"exa": "pending"})
    await database.fetch("update enrichment.runs set open = false where run_id = $1", run_id)
    answer, by_source = await estimate(
        enrichment, ours, pb.EstimatedProspect(prospect_id=str(prospect_id))
    )
    assert (answer.in_flight, by_source["exa"].calls) == (1, 0)


@pytest.mark.parametrize(
    ("people", "field"),
    [
        ([], "prospects"),
        ([person(prospect_id="7")], "prospects[0].prospect_id"),
        ([person(), person(company_cik="x")], "prospects[1].company_cik"),
    ],
)
async def test_a_bad_request_names_its_field(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    people: list[pb.EstimatedProspect],
    field: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await estimate(enrichment, ours, *people)
    assert [name for name, _ in violations(refused.value)] == [field]


async def test_an_unknown_prospect_without_a_name_is_not_found(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    other = await finished(enrichment, theirs)
    for prospect_id in (str(uuid.uuid4()), other.prospect_id):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await estimate(enrichment, ours, pb.EstimatedProspect(prospect_id=prospect_id))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("answered", ['{"claude": 5}', "[]", '{"exa": {"status": "?"}}'])
async def test_answers_that_cannot_be_read_are_estimated_as_none(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database, answered: str
) -> None:
    prospect = await finished(enrichment, ours)
    await database.fetch("update enrichment.prospects set answered = $1", answered)
    known = pb.EstimatedProspect(prospect_id=prospect.prospect_id)
    _, by_source = await estimate(enrichment, ours, known)
    assert by_source["exa"].calls == 1
