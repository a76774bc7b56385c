"""ReplayRuns: failed sources are asked again, once a prospect; a dry run says what it would do."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2, runs_pb2

from services.enrichment.sources.catalogue import SOURCES
from tests.enrichment.reading.test_lists import COMPLETE, FAILED, later
from tests.enrichment.rows import NOON, Rows
from tests.enrichment.test_service import finished, statuses
from tests.harness import Database, Identity, SandboxDesk, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

MOST = {source.value: row.max_cost_micros for source, row in SOURCES.items()}


async def replay(
    enrichment: EnrichmentServiceAsyncStub,
    who: Identity,
    *,
    dry_run: bool = False,
    most_runs: int = 0,
    **wanted: Any,
) -> runs_pb2.ReplayRunsResponse:
    """Run again what matches."""
    request = runs_pb2.ReplayRunsRequest(
        filter=runs_pb2.RunFilter(**wanted), dry_run=dry_run, most_runs=most_runs
    )
    return await enrichment.ReplayRuns(request, metadata=who.metadata())


async def test_the_failed_sources_are_asked_again_as_a_batch(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("contactout", "status", value=401, times=2)
    failed = [await finished(enrichment, ours, name=f"Ada {n}") for n in ("Byron", "King")]
    await finished(enrichment, ours)
    answer = await replay(enrichment, ours, missing="contactout")
    assert (answer.matched, answer.replayed) == (2, 2)
    request, ended = pb.WatchBatchRequest(batch_id=answer.batch_id), list[prospect_pb2.Run]()
    async for news in enrichment.WatchBatch(request, metadata=ours.metadata()):
        ended += news.ended
    assert {run.prospect_id for run in ended} == {each.prospect_id for each in failed}
    for prospect in failed:
        got = pb.GetProspectRequest(prospect_id=prospect.prospect_id)
        now = (await enrichment.GetProspect(got, metadata=ours.metadata())).prospect
        assert statuses(now)["contactout"] == "COMPLETE"
    assert await sandbox_desk.calls("contactout") == 5
    assert await sandbox_desk.calls("exa") == 3
    again = await replay(enrichment, ours, missing="contactout")
    assert (again.matched, again.replayed) == (0, 0)  # they have answered since


async def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows, database: Database
) -> None:
    await rows.run(status="failed", steps={"exa": "failed", "contactout": "failed"})
    await rows.run(status="failed", steps={"exa": "budget_denied", "contactout": "complete"})
    answer = await replay(enrichment, ours, dry_run=True, statuses=[FAILED])
    assert (answer.matched, answer.replayed, answer.batch_id) == (2, 0, "")
    exa, claude = MOST["exa"], MOST["claude"]
    assert answer.most_cost_micros == 2 * (exa + claude) + MOST["contactout"]
    assert len(await database.fetch("select from enrichment.runs")) == 2
    assert await database.fetch("select from enrichment.batches") == []


@pytest.mark.parametrize("status", ["complete", "not_found", "skipped", "suppressed"])
async def test_a_source_without_a_reason_to_ask_again_is_not_asked(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows, status: str
) -> None:
    await rows.run(status="failed", steps={"exa": status})
    assert (await replay(enrichment, ours, statuses=[FAILED])).matched == 0


async def test_the_newest_matching_run_decides_for_a_prospect(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows, database: Database
) -> None:
    prospect_id = await rows.prospect()
    await rows.run(prospect_id, status="failed", steps={"exa": "failed", "sec": "failed"})
    await rows.run(prospect_id, at=later(1), status="failed", steps={"exa": "failed"})
    await rows.run(prospect_id, at=later(2), steps={"exa": "complete"})
    answer = await replay(enrichment, ours, statuses=[FAILED])
    assert (answer.matched, answer.replayed) == (1, 1)
    (run,) = await database.fetch(
        "select sources, priority from enrichment.runs where created_at > $1", later(60)
    )
    assert (run["sources"], run["priority"]) == (["exa", "claude"], 1)


async def test_sources_that_answered_since_and_runs_under_way_are_not_replayed(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows
) -> None:
    answered = {"exa": {"status": "complete", "at": later(5).isoformat()}}
    await rows.run(await rows.prospect(answered=answered), status="failed", steps={"exa": "failed"})
    flying = await rows.prospect()
    await rows.run(flying, status="failed", steps={"exa": "failed"})
    # Too far ahead for a worker to take it up.
    run_id = await rows.run(flying, status="pending", steps={"exa": "pending"})
    await rows.database.fetch(
        "update enrichment.runs set wake_at = now() + interval '1 hour' where run_id = $1", run_id
    )
    assert (await replay(enrichment, ours, statuses=[FAILED], dry_run=True)).matched == 0


async def test_no_more_runs_are_begun_than_asked_for_the_newest_first(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows, database: Database
) -> None:
    for n in range(3):
        await rows.run(at=later(n), status="failed", steps={"exa": "failed"})
    answer = await replay(enrichment, ours, most_runs=2, statuses=[FAILED, COMPLETE])
    assert (answer.matched, answer.replayed) == (3, 2)
    left = await database.fetch(
        "select max(r.created_at) as newest from enrichment.runs r group by r.prospect_id"
    )
    assert [row["newest"] for row in left if row["newest"] < later(60)] == [NOON]


@pytest.mark.parametrize(
    ("request_", "field", "rule"),
    [
        (runs_pb2.ReplayRunsRequest(), "filter", "required"),
        (
            runs_pb2.ReplayRunsRequest(filter=runs_pb2.RunFilter()),
            "filter",
            "filter.not_empty",
        ),
        (
            runs_pb2.ReplayRunsRequest(
                filter=runs_pb2.RunFilter(batch_id=str(uuid.UUID(int=7))), most_runs=10_001
            ),
            "most_runs",
            "int32.gte_lte",
        ),
    ],
)
async def test_a_bad_replay_names_its_field(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    request_: runs_pb2.ReplayRunsRequest,
    field: str,
    rule: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.ReplayRuns(request_, metadata=ours.metadata())
    assert violations(refused.value) == [(field, rule)]
