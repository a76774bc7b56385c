"""After a prospect is erased no table of any schema and no stream holds a word about the person."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis import messaging
from chassis.broker.streams import ensure
from chassis.messaging import OutgoingEvent
from services import topology
from services.enrichment.erasure.stored_events import erase_prospect_events
from tests.enrichment.erasure.test_erasing import erase
from tests.enrichment.intake.test_batch import chunk, send
from tests.enrichment.test_service import finished, followed, handled, requested
from tests.harness import Database, Identity, SandboxDesk
from tests.left_over import events_with, tables_with

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

MARK = "xqzmark"
WHO: dict[str, Any] = {
    "name": f"Ada {MARK}",
    "company": f"{MARK} Engines",
    "email": f"{MARK}@{MARK}.test",
    "linkedin_url": f"https://www.linkedin.com/in/{MARK}",
    "title": f"{MARK} officer",
}


async def test_no_table_and_no_stream_says_a_word_about_an_erased_prospect(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    nats: Client,
    database: Database,
    sandbox_desk: SandboxDesk,
) -> None:
    await sandbox_desk.order("exa", "status", value=503)  # a retry leaves its trace as well
    by_call = await finished(enrichment, ours, **WHO)
    by_event = requested(ours, **WHO)
    await messaging.publish(nats, OutgoingEvent.of(topology.REQUESTED, by_event, "test"))
    await handled(nats)
    await followed(enrichment, ours, by_event.prospect_id)
    # One that cannot be handled is a dead letter, with all that it says of the person.
    broken = requested(ours, **WHO, company_cik="none", prospect_id=by_event.prospect_id)
    await messaging.publish(nats, OutgoingEvent.of(topology.REQUESTED, broken, "test"))
    await handled(nats)
    assert await events_with(nats, MARK) == [f"dead.{topology.REQUESTED}"]
    ada = pb.RequestEnrichmentRequest(**WHO)
    answers, _ = await send(enrichment, ours, chunk(str(uuid.uuid4()), 0, [ada] * 2))
    assert "enrichment.prospects" in await tables_with(database, MARK)
    ids = {by_call.prospect_id, by_event.prospect_id, *answers[0].prospect_ids}
    receipts = [await erase(enrichment, ours, each, suppress=True) for each in ids]
    assert await tables_with(database, MARK) == set()
    assert await events_with(nats, MARK) == []
    assert [each for each in receipts if MARK in str(each)] == []


async def test_a_request_that_waits_is_deleted_with_the_prospect_that_it_would_bring_back(
    ours: Identity, nats: Client
) -> None:
    await ensure(nats, topology.STREAMS)
    for subject in (topology.REQUESTED, f"{topology.REQUESTED}.{ours.tenant_id}"):
        gone, kept = requested(ours, **WHO), requested(ours)
        for each in (gone, kept):
            await messaging.publish(nats, OutgoingEvent.of(subject, each, "test"))
        await erase_prospect_events(nats, ours.tenant_id, uuid.UUID(gone.prospect_id))
        assert await events_with(nats, MARK) == []
        assert await events_with(nats, kept.prospect_id) == [subject]
