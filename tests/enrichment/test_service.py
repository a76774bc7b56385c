"""The enrichment service on real servers, with the sandbox as its sources."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import events_pb2, prospect_pb2
from pydantic import SecretStr

from chassis import messaging
from chassis.messaging import OutgoingEvent
from services import topology
from services.enrichment.sources.catalogue import RESEARCH, SourceName, credential_of, urls_of
from tests.harness import Database, Identity, SandboxDesk, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

APPLE = {"company": "Apple Inc.", "is_public_company": True, "company_cik": "320193"}


def sandbox_settings(url: str) -> dict[str, Any]:
    """Return the settings that point every source at the sandbox."""
    urls = [setting for name in SourceName for setting in urls_of(name)]
    keys = [credential_of(name) for name in SourceName]
    return (
        dict.fromkeys(urls, url)
        | dict.fromkeys(keys, SecretStr("sandbox"))
        | {
            "suppression_key": SecretStr("for tests, as long as it should be"),
            "sec_user_agent": "Prospect tests (tests@prospect.example)",
        }
    )


async def finished(
    stub: EnrichmentServiceAsyncStub, who: Identity, **request: Any
) -> prospect_pb2.Prospect:
    """Request an enrichment, follow it to its end, and return the prospect."""
    values = {"name": "Ada Lovelace", "company": "Analytical Engines"} | request
    asked = await stub.RequestEnrichment(
        pb.RequestEnrichmentRequest(**values), metadata=who.metadata()
    )
    return await followed(stub, who, asked.run.prospect_id)


async def followed(
    stub: EnrichmentServiceAsyncStub, who: Identity, prospect_id: str
) -> prospect_pb2.Prospect:
    """Follow a run to its end and return the prospect."""
    async with asyncio.timeout(30):
        async for _ in stub.WatchEnrichment(
            pb.WatchEnrichmentRequest(prospect_id=prospect_id), metadata=who.metadata()
        ):
            pass
    request = pb.GetProspectRequest(prospect_id=prospect_id)
    return (await stub.GetProspect(request, metadata=who.metadata())).prospect


def statuses(prospect: prospect_pb2.Prospect) -> dict[str, str]:
    """Return each source's status."""
    return {
        step.source: prospect_pb2.SourceStatus.Name(step.status).removeprefix("SOURCE_STATUS_")
        for step in prospect.enrichment_source_status
    }


async def test_a_public_companys_insider_is_researched_by_all_four_sources(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    prospect = await finished(enrichment, ours, name="Katherine Adams", **APPLE)
    assert set(statuses(prospect).values()) == {"COMPLETE"}
    assert prospect.contact_data.work_emails == ["katherine.adams@apple-inc.example"]
    assert prospect.web_data.pages
    assert [t.shares for t in prospect.insider_data.trades if t.transaction_code == "S"]
    assert all(sentence.fact_ids for sentence in prospect.ai_summary.sentences)


async def test_a_private_company_skips_the_sec_with_a_reason(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    prospect = await finished(enrichment, ours)
    step = next(s for s in prospect.enrichment_source_status if s.source == "sec")
    assert (statuses(prospect)["sec"], step.reason) == ("SKIPPED", "the company is not public")


async def test_a_run_completes_without_a_source_that_is_down(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("contactout", "status", value=401)
    prospect = await finished(enrichment, ours)
    assert statuses(prospect)["contactout"] == "FAILED"
    assert prospect.enrichment_status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE


async def test_a_run_without_any_answer_fails(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    for source in RESEARCH:
        await sandbox_desk.order(source.value, "status", value=401)
    prospect = await finished(enrichment, ours)
    assert prospect.enrichment_status == prospect_pb2.ENRICHMENT_STATUS_FAILED


async def test_a_failed_call_is_tried_again_and_each_call_is_written_down(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    database: Database,
) -> None:
    await sandbox_desk.order("exa", "status", value=503)
    prospect = await finished(enrichment, ours)
    assert statuses(prospect)["exa"] == "COMPLETE"
    rows = await database.fetch(
        "select status from enrichment.attempts where source = 'exa' order by attempt"
    )
    assert [row["status"] for row in rows] == ["failed", "complete"]


async def test_the_watch_begins_with_a_snapshot_and_closes_after_the_end(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "latency", value=0.5)  # so that the watch is there in time
    asked = await enrichment.RequestEnrichment(
        pb.RequestEnrichmentRequest(name="Ada Lovelace", company="Analytical Engines"),
        metadata=ours.metadata(),
    )
    request = pb.WatchEnrichmentRequest(prospect_id=asked.run.prospect_id)
    updates = [u async for u in enrichment.WatchEnrichment(request, metadata=ours.metadata())]
    assert updates[0].HasField("snapshot")
    assert updates[-1].change.status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE


async def test_a_request_for_a_prospect_in_flight_joins_its_run(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "latency", value=1)
    request = pb.RequestEnrichmentRequest(
        prospect_id=str(uuid.uuid4()), name="Ada Lovelace", company="Analytical Engines"
    )
    first = await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    second = await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    assert (second.joined, second.run.run_id) == (True, first.run.run_id)


async def test_the_same_request_id_again_gives_the_same_run(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    request = pb.RequestEnrichmentRequest(
        name="Ada Lovelace", company="Analytical Engines", request_id=str(uuid.uuid4())
    )
    answers = await asyncio.gather(
        *(enrichment.RequestEnrichment(request, metadata=ours.metadata()) for _ in range(4))
    )
    assert len({answer.run.run_id for answer in answers}) == 1


def requested(who: Identity, **fields: str) -> events_pb2.EnrichmentRequested:
    """Return the message of an event that asks for somebody."""
    ids = {"tenant_id": str(who.tenant_id), "user_id": str(who.user_id)}
    given = {"name": "Ada Lovelace", "company": "Analytical Engines"} | ids | fields
    values: dict[str, Any] = {"prospect_id": str(uuid.uuid4())} | given
    return events_pb2.EnrichmentRequested(**values)


async def test_a_request_on_nats_is_researched_like_an_rpcs(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    message = requested(ours)
    completed = await nats.subscribe(f"prospect.enrich.completed.{ours.tenant_id}")
    await messaging.publish(nats, OutgoingEvent.of(topology.REQUESTED, message, "test"))
    told = await completed.next_msg(timeout=20)
    event = events_pb2.EnrichmentCompleted.FromString(told.data)
    assert (event.prospect_id, event.user_id) == (message.prospect_id, message.user_id)


async def test_an_event_that_comes_twice_makes_one_run(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, nats: Client, database: Database
) -> None:
    message = requested(ours)
    completed = await nats.subscribe(f"prospect.enrich.completed.{ours.tenant_id}")
    event = OutgoingEvent.of(topology.REQUESTED, message, "test")
    await messaging.publish(nats, event)
    await completed.next_msg(timeout=20)
    # The broker would drop a repeat with its id; a redelivery after a lost ack comes like this.
    repeat = event.headers() | {"Nats-Msg-Id": "another"}
    await nats.jetstream().publish(event.subject, event.body, headers=repeat)
    await handled(nats)
    assert len(await database.fetch("select 1 from enrichment.runs")) == 1


async def handled(nats: Client) -> None:
    """Wait until the work queue is empty."""
    jetstream = nats.jetstream()
    async with asyncio.timeout(30):
        while (await jetstream.stream_info(topology.ENRICH_REQUESTED.stream)).state.messages:
            await asyncio.sleep(0.02)


async def test_another_tenants_prospect_is_not_found(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    prospect = await finished(enrichment, theirs)
    request = pb.GetProspectRequest(prospect_id=prospect.prospect_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.GetProspect(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_another_tenants_run_cannot_be_watched(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    prospect = await finished(enrichment, theirs)
    request = pb.WatchEnrichmentRequest(prospect_id=prospect.prospect_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in enrichment.WatchEnrichment(request, metadata=ours.metadata()):
            pass
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"company": "x" * 201}, "company"),
        ({"email": "nobody"}, "email"),
        ({"linkedin_url": "https://example.com/in/ada"}, "linkedin_url"),
        ({"company_cik": "12a"}, "company_cik"),
        ({"prospect_id": "7"}, "prospect_id"),
        ({"name": "Ada\0"}, "name"),
    ],
)
async def test_a_bad_request_names_its_field(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await finished(enrichment, ours, **fields)
    assert [name for name, _ in violations(refused.value)] == [field]
