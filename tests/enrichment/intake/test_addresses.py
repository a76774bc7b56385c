"""Addresses as people have them are taken at every door, kept in one form, and one person's."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import policy_pb2

from chassis import messaging
from chassis.messaging import OutgoingEvent
from services import topology
from services.enrichment.policy.suppression import Hasher
from tests.enrichment.intake.test_batch import chunk, person, send
from tests.enrichment.rows import Rows
from tests.enrichment.test_service import finished, handled, requested, statuses
from tests.harness import Database, Identity, SandboxDesk, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

USUAL = "https://www.linkedin.com/in/ada-lovelace"
AS_PEOPLE_HAVE_IT = "HTTP://de.LinkedIn.com/in/Ada-Lovelace/?trk=x"


async def shown(enrichment: EnrichmentServiceAsyncStub, who: Identity, prospect_id: str) -> str:
    request = pb.GetProspectRequest(prospect_id=prospect_id)
    found = await enrichment.GetProspect(request, metadata=who.metadata())
    return found.prospect.linkedin_url


async def test_a_call_an_event_and_a_batch_take_them(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    asked = await enrichment.RequestEnrichment(
        person(linkedin_url=AS_PEOPLE_HAVE_IT), metadata=ours.metadata()
    )
    message = requested(ours, linkedin_url=AS_PEOPLE_HAVE_IT)
    await messaging.publish(nats, OutgoingEvent.of(topology.REQUESTED, message, "test"))
    await handled(nats)
    people = [person(linkedin_url=AS_PEOPLE_HAVE_IT)]
    accepted, _ = await send(enrichment, ours, chunk(str(uuid.uuid4()), 0, people))
    ids = [asked.run.prospect_id, message.prospect_id, *accepted[0].prospect_ids]
    assert [await shown(enrichment, ours, each) for each in ids] == [USUAL] * 3


async def test_an_address_that_names_nobody_is_refused_also_where_it_looks_like_one(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    for address in ("https://www.linkedin.com/company/x", "https://www.linkedin.com/in/%2F"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await finished(enrichment, ours, linkedin_url=address)
        assert violations(refused.value) == [("linkedin_url", "string.linkedin_profile")]


async def test_a_stored_prospect_in_other_spelling_keeps_its_answers(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    rows: Rows,
    database: Database,
    sandbox_desk: SandboxDesk,
) -> None:
    answer = {"status": "complete", "at": datetime.now(UTC).isoformat()}
    known = dict.fromkeys(("contactout", "exa"), answer)
    prospect_id = await rows.prospect(answered=known)
    await database.fetch(
        "update enrichment.prospects set linkedin_url = 'https://linkedin.com/in/Ada-Lovelace/'"
    )
    words = {"name": "ADA  Lovelace", "linkedin_url": USUAL, "prospect_id": str(prospect_id)}
    prospect = await finished(enrichment, ours, **words)
    assert statuses(prospect)["contactout"] == "COMPLETE"
    assert [await sandbox_desk.calls(each) for each in ("contactout", "exa")] == [0, 0]


async def test_a_request_id_of_a_former_version_gets_its_run_again(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    """The digest of what was asked is of the caller's own words, as it always was."""
    address = "https://linkedin.com/in/Ada-Lovelace/"
    request = person(linkedin_url=address, request_id=str(uuid.uuid4()))
    first = await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    asked: list[Any] = [None, request.name, request.company, "", "", address, False, None]
    hasher = Hasher(b"for tests, as long as it should be")
    text = json.dumps([*asked, [], False, 0])
    (row,) = await database.fetch("select digest from enrichment.requests")
    assert row["digest"] == hasher.keyed_hash(ours.tenant_id, "request", text)
    again = await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    assert again.run.run_id == first.run.run_id


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("www.linkedin.com/in/zo%C3%AB-q", "https://fr.linkedin.com/in/Zoë-Q/"),
        ("https://www.linkedin.com/in/zoë-q", "https://www.linkedin.com/in/zo%c3%ab-q?x=1"),
    ],
)
async def test_a_suppressed_person_is_not_asked_about_in_other_spelling_and_can_be_taken_off(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    listed: str,
    asked: str,
) -> None:
    people = [policy_pb2.SuppressedPerson(linkedin_url=listed)]
    await enrichment.Suppress(policy_pb2.SuppressRequest(people=people), metadata=ours.metadata())
    prospect = await finished(enrichment, ours, name="Zoë Q", linkedin_url=asked)
    assert statuses(prospect)["exa"] == "SUPPRESSED"
    assert await sandbox_desk.calls("exa") == 0
    people = [policy_pb2.SuppressedPerson(linkedin_url=asked)]
    await enrichment.Unsuppress(
        policy_pb2.UnsuppressRequest(people=people), metadata=ours.metadata()
    )
    again = await finished(enrichment, ours, name="Zoë Q", linkedin_url=listed)
    assert statuses(again)["exa"] == "COMPLETE"
