"""CancelRun and RetrySource: a run under way is steered, and only by its own tenant."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import grpc
import pytest
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import operations_pb2, prospect_pb2, runs_pb2

from tests.enrichment.test_service import finished, followed, statuses
from tests.harness import Database, Identity, SandboxDesk, error_info, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub


async def begun(enrichment: EnrichmentServiceAsyncStub, who: Identity) -> prospect_pb2.Run:
    """Request an enrichment."""
    request = pb.RequestEnrichmentRequest(name="Ada Lovelace", company="Analytical Engines")
    return (await enrichment.RequestEnrichment(request, metadata=who.metadata())).run


async def retry(
    enrichment: EnrichmentServiceAsyncStub, who: Identity, prospect_id: str, source: str
) -> prospect_pb2.Run:
    """Ask a source again."""
    request = runs_pb2.RetrySourceRequest(prospect_id=prospect_id, source=source)
    return (await enrichment.RetrySource(request, metadata=who.metadata())).run


async def until_exa_is(
    enrichment: EnrichmentServiceAsyncStub,
    who: Identity,
    run: prospect_pb2.Run,
    status: prospect_pb2.SourceStatus.ValueType,
) -> prospect_pb2.Run:
    """Wait for a status of Exa's step."""
    request = runs_pb2.GetRunRequest(run_id=run.run_id)
    async with asyncio.timeout(30):
        while True:
            got = (await enrichment.GetRun(request, metadata=who.metadata())).run
            if any(s.source == "exa" and s.status == status for s in got.steps):
                return got
            await asyncio.sleep(0.02)


# -- cancelling ------------------------------------------------------------------------------------


async def test_a_cancelled_run_ends_after_the_call_that_is_out(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "latency", value=1)
    run = await begun(enrichment, ours)
    await until_exa_is(enrichment, ours, run, prospect_pb2.SOURCE_STATUS_IN_PROGRESS)
    request = runs_pb2.CancelRunRequest(run_id=run.run_id)
    answer = await enrichment.CancelRun(request, metadata=ours.metadata())
    assert answer.run.status == prospect_pb2.ENRICHMENT_STATUS_IN_PROGRESS
    prospect = await followed(enrichment, ours, run.prospect_id)
    assert (statuses(prospect)["exa"], statuses(prospect)["claude"]) == ("COMPLETE", "SKIPPED")
    again = await enrichment.CancelRun(request, metadata=ours.metadata())
    assert again.run.status == prospect_pb2.ENRICHMENT_STATUS_CANCELLED


async def test_a_run_that_has_ended_stays_as_it_is(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    prospect = await finished(enrichment, ours)
    request = runs_pb2.CancelRunRequest(run_id=prospect.run_id)
    answer = await enrichment.CancelRun(request, metadata=ours.metadata())
    assert answer.run.status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE


async def test_another_tenants_run_is_not_cancelled_even_by_a_hint(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    sandbox_desk: SandboxDesk,
) -> None:
    await sandbox_desk.order("exa", "latency", value=1)
    run = await begun(enrichment, theirs)
    await until_exa_is(enrichment, theirs, run, prospect_pb2.SOURCE_STATUS_IN_PROGRESS)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.CancelRun(
            runs_pb2.CancelRunRequest(run_id=run.run_id), metadata=ours.metadata()
        )
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    prospect = await followed(enrichment, theirs, run.prospect_id)
    assert statuses(prospect)["claude"] == "COMPLETE"


# -- retrying --------------------------------------------------------------------------------------


async def test_a_failed_source_is_asked_again_in_a_new_run_that_reuses_the_others(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("contactout", "status", value=401)
    prospect = await finished(enrichment, ours)
    assert statuses(prospect)["contactout"] == "FAILED"
    run = await retry(enrichment, ours, prospect.prospect_id, "contactout")
    assert run.run_id != prospect.run_id
    prospect = await followed(enrichment, ours, prospect.prospect_id)
    assert prospect.run_id == run.run_id
    by_source = {step.source: step for step in prospect.enrichment_source_status}
    assert by_source["contactout"].status == prospect_pb2.SOURCE_STATUS_COMPLETE
    assert by_source["exa"].is_reused
    assert not by_source["claude"].is_reused
    assert await sandbox_desk.calls("exa") == 1
    assert await sandbox_desk.calls("claude") == 2


async def test_a_new_summary_is_made_although_nothing_else_has_changed(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    prospect = await finished(enrichment, ours)
    await retry(enrichment, ours, prospect.prospect_id, "claude")
    prospect = await followed(enrichment, ours, prospect.prospect_id)
    assert statuses(prospect)["claude"] == "COMPLETE"
    assert await sandbox_desk.calls("claude") == 2
    assert await sandbox_desk.calls("contactout") == 1


@pytest.mark.parametrize("call_is_out", [False, True])
async def test_a_step_that_waits_is_asked_at_once_and_no_call_is_lost(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    database: Database,
    call_is_out: bool,
) -> None:
    await sandbox_desk.order("exa", "retry_after", value=60)
    if call_is_out:
        await sandbox_desk.order("contactout", "latency", value=2.5)
    run = await begun(enrichment, ours)
    await until_exa_is(enrichment, ours, run, prospect_pb2.SOURCE_STATUS_PARKED)
    if not call_is_out:
        await _handed_back(database)
    await _resumed(enrichment, ours, database)
    retried = await retry(enrichment, ours, run.prospect_id, "exa")
    assert retried.run_id == run.run_id
    prospect = await followed(enrichment, ours, run.prospect_id)
    by_source = {step.source: step for step in prospect.enrichment_source_status}
    assert by_source["exa"].status == prospect_pb2.SOURCE_STATUS_COMPLETE
    assert by_source["exa"].attempts == 2
    contact = by_source["contactout"]
    assert (contact.attempts, contact.uncertain_attempts) == (1, 0)
    assert await sandbox_desk.calls("contactout") == 1


async def _resumed(
    enrichment: EnrichmentServiceAsyncStub, who: Identity, database: Database
) -> None:
    """Let exa be asked again, once the source is known to be parked: the step is so before it."""
    async with asyncio.timeout(30):
        while not await database.fetch(
            "select from enrichment.sources where source = 'exa' and parked_until is not null"
        ):
            await asyncio.sleep(0.02)
    resume = operations_pb2.PauseSourceRequest(source="exa", resume=True)
    await enrichment.PauseSource(resume, metadata=who.metadata())


async def _handed_back(database: Database) -> None:
    async with asyncio.timeout(30):
        while not await database.fetch("select from enrichment.runs where lease_token is null"):
            await asyncio.sleep(0.02)


async def test_a_source_that_has_ended_in_a_run_under_way_is_refused_until_the_run_has_ended(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("contactout", "latency", value=1.5)
    run = await begun(enrichment, ours)
    await until_exa_is(enrichment, ours, run, prospect_pb2.SOURCE_STATUS_COMPLETE)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await retry(enrichment, ours, run.prospect_id, "exa")
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "retry when the run has ended" in (refused.value.details() or "")
    info = error_info(refused.value)
    assert (info.reason, dict(info.metadata)) == ("STEP_NOT_OPEN", {"run_id": run.run_id})


@pytest.mark.parametrize(
    ("prospect_id", "source", "field"),
    [("7", "exa", "prospect_id"), (str(uuid.UUID(int=7)), "bing", "source")],
)
async def test_a_bad_retry_names_its_field(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    prospect_id: str,
    source: str,
    field: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await retry(enrichment, ours, prospect_id, source)
    assert [name for name, _ in violations(refused.value)] == [field]
