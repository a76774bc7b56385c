"""Listing prospects and runs: newest first, page by page, narrowed by filters; a run's timeline."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2, runs_pb2

from chassis.clock import to_timestamp
from services.enrichment.sources.catalogue import SOURCES
from tests.enrichment.rows import NOON, Rows
from tests.enrichment.test_service import APPLE, finished
from tests.harness import Identity, SandboxDesk, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

COMPLETE = prospect_pb2.ENRICHMENT_STATUS_COMPLETE
FAILED = prospect_pb2.ENRICHMENT_STATUS_FAILED


def later(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


async def runs_of(
    enrichment: EnrichmentServiceAsyncStub, who: Identity, size: int = 0, **wanted: Any
) -> list[str]:
    """Return the ids of every page."""
    request, found = runs_pb2.ListRunsRequest(page_size=size), list[str]()
    request.filter.CopyFrom(runs_pb2.RunFilter(**wanted))
    while True:
        page = await enrichment.ListRuns(request, metadata=who.metadata())
        found += [each.run_id for each in page.runs]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def prospects_of(
    enrichment: EnrichmentServiceAsyncStub, who: Identity, **wanted: Any
) -> list[str]:
    """Return the ids of every page."""
    request, found = pb.ListProspectsRequest(**wanted), list[str]()
    while True:
        page = await enrichment.ListProspects(request, metadata=who.metadata())
        found += [each.prospect_id for each in page.prospects]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def test_pages_hold_every_run_once_newest_first_while_more_are_added(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows
) -> None:
    # Two of each moment, so that a page ends between equals.
    newest_first = [str(await rows.run(at=later(n // 2))) for n in range(11)][::-1]
    request, found = runs_pb2.ListRunsRequest(page_size=2), list[str]()
    while True:
        page = await enrichment.ListRuns(request, metadata=ours.metadata())
        found += [each.run_id for each in page.runs]
        if not page.next_page_token:
            break
        await rows.run(at=later(60))
        request.page_token = page.next_page_token
    assert found == newest_first


async def test_pages_hold_every_prospect_once_newest_first_while_more_are_added(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows
) -> None:
    newest_first = [str(await rows.prospect(at=later(n // 2))) for n in range(11)][::-1]
    request, found = pb.ListProspectsRequest(page_size=2), list[str]()
    while True:
        page = await enrichment.ListProspects(request, metadata=ours.metadata())
        found += [each.prospect_id for each in page.prospects]
        if not page.next_page_token:
            break
        await rows.prospect(at=later(60))
        request.page_token = page.next_page_token
    assert found == newest_first


async def test_runs_are_narrowed_by_each_filter_and_by_all_together(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows
) -> None:
    prospect_id = await rows.prospect()
    old = str(await rows.run(prospect_id))
    failed = str(
        await rows.run(
            at=later(1), status="failed", steps={"exa": "failed"}, error_class="throttled"
        )
    )
    new = str(await rows.run(prospect_id, at=later(2)))
    batch_id = str(await rows.batch(uuid.UUID(old), uuid.UUID(failed), uuid.UUID(failed)))

    async def found(**wanted: Any) -> list[str]:
        return await runs_of(enrichment, ours, 1, **wanted)

    assert await found() == [new, failed, old]
    assert await found(statuses=[COMPLETE]) == [new, old]
    assert await found(prospect_id=str(prospect_id)) == [new, old]
    assert await found(batch_id=batch_id) == [failed, old]
    assert await found(missing="exa") == [failed]
    assert await found(missing="sec") == []
    assert await found(error_class="throttled") == [failed]
    assert await found(created_from=to_timestamp(later(1))) == [new, failed]
    assert await found(created_until=to_timestamp(later(1))) == [old]
    together = {"batch_id": batch_id, "statuses": [FAILED], "missing": "exa"}
    assert await found(error_class="throttled", **together) == [failed]
    assert await found(error_class="auth", **together) == []


async def test_prospects_are_narrowed_by_each_filter(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows
) -> None:
    stale = str(await rows.prospect(enriched_at=NOON, sources={"exa": "failed"}))
    fresh = str(
        await rows.prospect(
            at=later(1), status="failed", enriched_at=later(5), sources={"sec": "failed"}
        )
    )
    never = str(await rows.prospect(at=later(2), status="pending"))

    async def found(**wanted: Any) -> list[str]:
        return await prospects_of(enrichment, ours, page_size=1, **wanted)

    step_failed = prospect_pb2.SOURCE_STATUS_FAILED
    assert await found() == [never, fresh, stale]
    assert await found(statuses=[FAILED, COMPLETE]) == [fresh, stale]
    assert await found(source_status=step_failed) == [fresh, stale]
    assert await found(source="exa", source_status=step_failed) == [stale]
    assert await found(source="exa") == [never, fresh, stale]
    assert await found(stale_before=to_timestamp(later(1))) == [never, stale]


async def test_a_listed_prospect_has_its_steps_and_not_what_was_found(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    prospect = await finished(enrichment, ours, **APPLE)
    page = await enrichment.ListProspects(pb.ListProspectsRequest(), metadata=ours.metadata())
    wanted = type(prospect)()
    wanted.CopyFrom(prospect)
    for field, _ in prospect.ListFields():
        if field.name in {row.column for row in SOURCES.values()}:
            wanted.ClearField(field.name)  # type: ignore[arg-type]
    assert list(page.prospects) == [wanted]


async def test_the_timeline_has_every_call_with_its_waits_its_cost_and_its_trace(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "status", value=503)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    request = pb.RequestEnrichmentRequest(
        name="Katherine Adams", company="Apple Inc.", is_public_company=True, company_cik="320193"
    )
    traced = (*ours.metadata(), ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"))
    asked = await enrichment.RequestEnrichment(request, metadata=traced)
    watching = pb.WatchEnrichmentRequest(prospect_id=asked.run.prospect_id)
    async for _ in enrichment.WatchEnrichment(watching, metadata=ours.metadata()):
        pass
    got = await enrichment.GetRun(
        runs_pb2.GetRunRequest(run_id=asked.run.run_id), metadata=ours.metadata()
    )
    listed = await enrichment.ListRuns(runs_pb2.ListRunsRequest(), metadata=ours.metadata())
    assert list(listed.runs) == [got.run]
    exa = [each for each in got.attempts if each.source == "exa"]
    failed, complete = exa
    assert [each.attempt for each in exa] == [1, 2]
    assert failed.status == runs_pb2.ATTEMPT_STATUS_FAILED
    assert failed.error_class == "transient"
    assert failed.reason
    assert complete.status == runs_pb2.ATTEMPT_STATUS_COMPLETE
    assert complete.started_at.ToDatetime() > failed.ended_at.ToDatetime()
    assert sum(each.cost_micros for each in got.attempts) == got.run.cost_micros > 0
    assert {each.trace_id for each in got.attempts} == {trace_id}
    assert all(each.worker and each.queue_wait_ms >= 0 for each in got.attempts)
    contact = next(each for each in got.attempts if each.source == "contactout")
    assert contact.lookup == "name_and_company"
    times = [each.started_at.ToNanoseconds() for each in got.attempts]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ListRuns", runs_pb2.ListRunsRequest(page_size=1001), "page_size"),
        ("ListRuns", runs_pb2.ListRunsRequest(page_token="tampered"), "page_token"),
        (
            "ListRuns",
            runs_pb2.ListRunsRequest(filter=runs_pb2.RunFilter(prospect_id="7")),
            "filter.prospect_id",
        ),
        (
            "ListRuns",
            runs_pb2.ListRunsRequest(
                filter=runs_pb2.RunFilter(created_from=Timestamp(seconds=2**60))
            ),
            "filter.created_from",
        ),
        (
            "ListRuns",
            runs_pb2.ListRunsRequest(filter=runs_pb2.RunFilter(missing="bing")),
            "filter.missing",
        ),
        (
            "ListRuns",
            runs_pb2.ListRunsRequest(filter=runs_pb2.RunFilter(error_class="a\0")),
            "filter.error_class",
        ),
        ("ListProspects", pb.ListProspectsRequest(page_size=-1), "page_size"),
        ("ListProspects", pb.ListProspectsRequest(page_token="tampered"), "page_token"),
        ("ListProspects", pb.ListProspectsRequest(source="bing"), "source"),
        (
            "ListProspects",
            pb.ListProspectsRequest(stale_before=Timestamp(nanos=-1)),
            "stale_before",
        ),
        ("GetRun", runs_pb2.GetRunRequest(run_id="7"), "run_id"),
    ],
)
async def test_a_bad_request_names_its_field(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    method: str,
    request_: Any,
    field: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(enrichment, method)(request_, metadata=ours.metadata())
    assert [name for name, _ in violations(refused.value)] == [field]


async def test_a_page_token_is_good_for_its_own_question_only(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows
) -> None:
    for _ in range(2):
        await rows.run()
    page = await enrichment.ListRuns(
        runs_pb2.ListRunsRequest(page_size=1), metadata=ours.metadata()
    )
    other = runs_pb2.ListRunsRequest(
        page_token=page.next_page_token, filter=runs_pb2.RunFilter(statuses=[COMPLETE])
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.ListRuns(other, metadata=ours.metadata())
    assert violations(refused.value) == [("page_token", "page_token")]
