"""Repeated requests, and requests while their prospect has a run: one answer each, none lost."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import events_pb2, prospect_pb2

from chassis import messaging
from chassis.clock import new_id
from chassis.database import tenant_transaction
from chassis.errors import FailedPrecondition, InvalidArgument
from chassis.messaging import OutgoingEvent
from devstack import servers
from services import topology
from services.enrichment.events import RetryRoom
from services.enrichment.reading import store
from services.enrichment.run.plan import Accepted
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Person
from tests.enrichment.engine import ADA, Engine, Sources, engine, finding
from tests.enrichment.intake.test_batch import chunk, person, send
from tests.enrichment.intake.test_steering import until_exa_is
from tests.enrichment.test_service import handled, requested
from tests.harness import Database, Identity, SandboxDesk, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

BORIS = replace(ADA, name="Boris Second", company="Other Corp")


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("enrichment_app")


# -- the same id -----------------------------------------------------------------------------------


async def test_a_request_id_that_comes_with_other_content_is_refused(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = person(request_id=str(uuid.uuid4()))
    await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    request.name = "Boris Second"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations(refused.value) == [("request_id", "request_id.taken")]
    assert len(await database.fetch("select from enrichment.runs")) == 1


async def test_of_requests_that_share_an_id_in_one_transaction_the_first_counts(
    dsn: str, nats_server: servers.Nats
) -> None:
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        given = {"request_id": uuid.uuid4(), "is_new": True}
        first, other, same = await asyncio.gather(
            *(one.accept(each, **given) for each in (ADA, BORIS, ADA)), return_exceptions=True
        )
    assert isinstance(other, InvalidArgument)
    assert isinstance(first, Accepted)
    assert same == replace(first, joined=True)


async def test_a_request_id_that_is_taken_is_refused_in_a_batch_alone(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    key = str(uuid.uuid4())
    people = [person(1, request_id=key), person(2, request_id=key), person(3)]
    (accepted,), _ = await send(enrichment, ours, chunk(str(uuid.uuid4()), 0, people))
    assert accepted.accepted == 2
    (refused,) = accepted.refused
    assert (refused.index, refused.field, refused.rule) == (1, "request_id", "request_id.taken")


async def test_a_request_that_was_refused_may_come_again_with_its_id(
    dsn: str, nats_server: servers.Nats
) -> None:
    exa, prospect_id, request_id = Held(), new_id(), uuid.uuid4()
    async with engine(dsn, nats_server.url, exa.sources()) as one:
        await exa.is_called(await one.accept(prospect_id=prospect_id))
        with pytest.raises(FailedPrecondition):
            await one.accept(BORIS, prospect_id=prospect_id, request_id=request_id)
        exa.go_on.set()
        await asyncio.sleep(0.3)
        again = await one.accept(BORIS, prospect_id=prospect_id, request_id=request_id)
    assert not again.joined


# -- erased meanwhile ------------------------------------------------------------------------------


async def test_a_repeat_does_not_bring_an_erased_person_back(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = person(request_id=str(uuid.uuid4()))
    asked = await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    erase = pb.EraseProspectRequest(prospect_id=asked.run.prospect_id)
    await enrichment.EraseProspect(erase, metadata=ours.metadata())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.RequestEnrichment(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert violations(refused.value) == [("request_id", "request_id.gone")]
    assert await database.fetch("select from enrichment.prospects") == []
    request.request_id = str(uuid.uuid4())
    await enrichment.RequestEnrichment(request, metadata=ours.metadata())


async def test_an_event_that_comes_again_does_not_bring_an_erased_person_back(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, nats: Client, database: Database
) -> None:
    event = asking_for_boris(ours)
    await messaging.publish(nats, event)
    await handled(nats)
    erase = pb.EraseProspectRequest(prospect_id=prospect_of(event))
    await enrichment.EraseProspect(erase, metadata=ours.metadata())
    repeat = event.headers() | {"Nats-Msg-Id": "another"}
    await nats.jetstream().publish(event.subject, event.body, headers=repeat)
    await handled(nats)
    assert await database.fetch("select from enrichment.prospects") == []
    assert (await nats.jetstream().stream_info("DEAD_LETTERS")).state.messages == 0


async def test_a_batch_that_is_sent_again_does_not_bring_an_erased_person_back(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    batch_id = uuid.uuid4()
    async with engine(dsn, nats_server.url, Sources()) as one:
        chunk = {0: one.request(), 1: one.request()}
        first = await one.intake.accept_batch(batch_id, chunk)
        for each in first.values():
            assert isinstance(each, Accepted)
            await one.calls_ended(each.run_id)
        erased = chunk[0].prospect_id
        await database.fetch("delete from enrichment.prospects where prospect_id = $1", erased)
        again = await one.intake.accept_batch(batch_id, chunk)
    assert isinstance(again[0], FailedPrecondition)
    assert again[0].violations[0].rule == "batch_id.gone"
    assert isinstance(again[1], Accepted)
    assert len(await database.fetch("select from enrichment.prospects")) == 1


# -- while there is a run --------------------------------------------------------------------------


class Held:
    """Exa, whose calls wait until they are let go."""

    def __init__(self) -> None:
        self.go_on, self._called = asyncio.Event(), asyncio.Event()
        self.asked: list[str] = []

    def sources(self) -> Sources:
        """Return sources of which this is Exa."""
        return Sources(answers={SourceName.EXA: self._ask})

    async def is_called(self, _: Accepted) -> None:
        """Wait until a call is out."""
        async with asyncio.timeout(30):
            await self._called.wait()

    async def _ask(self, call: SourceCall) -> Answer:
        self.asked.append(call.person.name)
        self._called.set()
        await self.go_on.wait()
        return Answer(finding(SourceName.EXA))


async def test_other_words_are_refused_while_a_run_is_under_way(
    dsn: str, nats_server: servers.Nats
) -> None:
    exa, prospect_id = Held(), new_id()
    async with engine(dsn, nats_server.url, exa.sources()) as one:
        accepted = await one.accept(prospect_id=prospect_id)
        await exa.is_called(accepted)
        with pytest.raises(FailedPrecondition) as refused:
            await one.accept(BORIS, prospect_id=prospect_id)
        joined = await one.accept(replace(ADA, title="Countess"), prospect_id=prospect_id)
        exa.go_on.set()
        await one.ended(accepted.run_id)
    assert refused.value.metadata == {"run_id": str(accepted.run_id)}
    assert refused.value.violations[0].rule == "prospect_id.under_way"
    assert joined.run_id == accepted.run_id


async def test_a_run_that_has_not_begun_takes_the_newest_words(
    dsn: str, nats_server: servers.Nats
) -> None:
    sources, prospect_id = Sources(), new_id()
    async with engine(dsn, nats_server.url, sources, working=False) as one:
        await one.accept(prospect_id=prospect_id)
        accepted = await one.accept(BORIS, prospect_id=prospect_id)
        async with engine(dsn, nats_server.url, sources, tenant_id=one.tenant_id):
            await one.ended(accepted.run_id)
    assert accepted.joined
    assert {call.person.name for call in sources.asked} == {BORIS.name}


async def test_a_worker_that_has_read_the_old_words_does_not_ask_with_them(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources, prospect_id = Sources(), new_id()
    async with engine(dsn, nats_server.url, sources, working=False) as one:
        accepted = await one.accept(prospect_id=prospect_id)
        await database.fetch(
            "update enrichment.runs set lease_token = gen_random_uuid(),"
            " lease_expires_at = now() + interval '1 hour'"
        )
        await one.accept(BORIS, prospect_id=prospect_id)
        async with engine(dsn, nats_server.url, sources, tenant_id=one.tenant_id):
            await one.ended(accepted.run_id)


@pytest.mark.parametrize("words", [(BORIS, ADA), (ADA, BORIS), (BORIS, BORIS, ADA)])
async def test_of_requests_at_once_the_last_ones_words_are_asked_with(
    dsn: str, nats_server: servers.Nats, words: Sequence[Person]
) -> None:
    sources, prospect_id = Sources(), new_id()
    async with engine(dsn, nats_server.url, sources) as one:
        await one.enriched(prospect_id=prospect_id)
        before = dict(sources.calls)
        got = await asyncio.gather(*(one.accept(each, prospect_id=prospect_id) for each in words))
        _, steps = await one.ended(got[0].run_id)
        row = await prospect(one, prospect_id)
    assert len({each.run_id for each in got}) == 1
    assert row["name"] == words[-1].name
    asked = sources.calls[SourceName.CONTACTOUT] - before[SourceName.CONTACTOUT]
    assert asked == (words[-1] == BORIS)
    assert steps[SourceName.CONTACTOUT].status == "complete"
    assert row["contact_data"]


async def test_no_request_joins_a_run_that_is_being_cancelled(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    exa, prospect_id = Held(), new_id()
    async with engine(dsn, nats_server.url, exa.sources()) as one:
        accepted = await one.accept(prospect_id=prospect_id)
        await exa.is_called(accepted)
        await database.fetch("update enrichment.runs set cancel_requested_at = now()")
        with pytest.raises(FailedPrecondition, match="being cancelled"):
            await one.accept(prospect_id=prospect_id)
        exa.go_on.set()
        await one.ended(accepted.run_id)
        again = await one.accept(prospect_id=prospect_id)
    assert not again.joined


async def test_an_event_with_other_words_waits_for_the_runs_end(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    nats: Client,
    database: Database,
    sandbox_desk: SandboxDesk,
) -> None:
    await sandbox_desk.order("exa", "latency", value=1)
    event = asking_for_boris(ours)
    first = person(prospect_id=prospect_of(event))
    asked = await enrichment.RequestEnrichment(first, metadata=ours.metadata())
    await until_exa_is(enrichment, ours, asked.run, prospect_pb2.SOURCE_STATUS_IN_PROGRESS)
    await messaging.publish(nats, event)
    await handled(nats)
    rows = await database.fetch(
        "select name, (select count(*) from enrichment.runs) as runs from enrichment.prospects"
    )
    assert [tuple(row) for row in rows] == [("Boris Second", 2)]


def test_a_tenant_has_so_many_waiting_events_at_most() -> None:
    room, ours, theirs = RetryRoom(max_waiting=3), uuid.uuid4(), uuid.uuid4()
    assert [room.has_room(ours) for _ in range(5)] == [True] * 3 + [False] * 2
    assert room.has_room(theirs)


# -- words of the tests ----------------------------------------------------------------------------


def asking_for_boris(who: Identity) -> OutgoingEvent:
    """Return an event that asks for him."""
    message = requested(who, name=BORIS.name, company=BORIS.company)
    return OutgoingEvent.of(topology.REQUESTED, message, "test")


def prospect_of(event: OutgoingEvent) -> str:
    """Return whom an event asks for."""
    return events_pb2.EnrichmentRequested.FromString(event.body).prospect_id


async def prospect(one: Engine, prospect_id: uuid.UUID) -> asyncpg.Record:
    """Return a prospect as it stands."""
    async with tenant_transaction(one.pool, one.tenant_id) as connection:
        row = await store.get_prospect(connection, one.tenant_id, prospect_id)
    assert row is not None
    return row
