"""After a prospect is erased no table of any schema and no stream holds a word about the person."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis import messaging
from chassis.messaging import OutgoingEvent
from services import topology
from tests.enrichment.erasure.test_erasing import erase
from tests.enrichment.intake.test_batch import chunk, send
from tests.enrichment.test_service import finished, followed, handled, requested
from tests.harness import Database, Identity, SandboxDesk

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


async def marked_tables(database: Database) -> set[str]:
    """Return the tables of all schemas in which the mark stands, in any column."""
    tables = await database.fetch(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables"
        " where schemaname in ('activity', 'enrichment', 'metrics')"
    )
    marked = set()
    for table in (row["name"] for row in tables):
        # As text a bytea is hexadecimal, so the mark is looked for in that form as well.
        rows = await database.fetch(
            f"select 1 from {table} t where t::text ilike '%{MARK}%'"
            f" or t::text like '%{MARK.encode().hex()}%' limit 1"
        )
        if rows:
            marked.add(table)
    return marked


async def marked_events(nats: Client) -> list[str]:
    """Return the subjects of the events in any stream that have the mark in body or headers."""
    jetstream = nats.jetstream()
    marked = []
    for stream in topology.STREAMS:
        state = (await jetstream.stream_info(stream.name)).state
        for sequence in range(state.first_seq, state.last_seq + 1) if state.messages else ():
            message = await jetstream.get_msg(stream.name, seq=sequence)
            said = (message.data or b"") + str(message.headers).encode()
            if MARK.encode() in said.lower():
                marked.append(str(message.subject))
    return marked


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
    assert await marked_events(nats) == [f"dead.{topology.REQUESTED}"]
    ada = pb.RequestEnrichmentRequest(**WHO)
    answers, _ = await send(enrichment, ours, chunk(str(uuid.uuid4()), 0, [ada] * 2))
    assert "enrichment.prospects" in await marked_tables(database)
    ids = {by_call.prospect_id, by_event.prospect_id, *answers[0].prospect_ids}
    receipts = [await erase(enrichment, ours, each, suppress=True) for each in ids]
    assert await marked_tables(database) == set()
    assert await marked_events(nats) == []
    assert [each for each in receipts if MARK in str(each)] == []
