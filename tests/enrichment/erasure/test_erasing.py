"""Erasing a prospect or a user who asked: nothing personal stays, the ledger does."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import events_pb2, prospect_pb2

from chassis import messaging
from chassis.auth import Caller, set_caller
from chassis.clock import to_timestamp, utc_now
from chassis.database import Pool, tenant_transaction
from chassis.messaging import OutgoingEvent
from chassis.outbox import Relay
from devstack import servers
from services import topology
from services.enrichment.erasure.forget_user import forget_user
from services.enrichment.erasure.rpc import ErasureRpc
from services.enrichment.policy.suppression import Hasher
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker.hints import Hints
from tests.enrichment.engine import ADA, Sources, engine, finding, ledger
from tests.enrichment.intake.test_batch import chunk, person, send, watch
from tests.enrichment.intake.test_steering import begun, until_exa_is
from tests.enrichment.rows import Rows
from tests.enrichment.test_service import APPLE, finished, statuses
from tests.harness import Database, Identity, SandboxDesk, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

    from chassis.interceptor import Context

IN_PROGRESS = prospect_pb2.SOURCE_STATUS_IN_PROGRESS
NOBODY = uuid.UUID(int=0)
PERSONAL = ("prospects", "runs", "steps", "attempts", "batch_runs", "outbox")


async def erase(
    enrichment: EnrichmentServiceAsyncStub, who: Identity, prospect_id: str, **values: Any
) -> pb.EraseProspectResponse:
    """Erase a prospect."""
    request = pb.EraseProspectRequest(prospect_id=prospect_id, **values)
    return await enrichment.EraseProspect(request, metadata=who.metadata())


async def count(database: Database, table: str) -> int:
    """Return how many rows a table has."""
    return int((await database.fetch(f"select count(*) as n from enrichment.{table}"))[0]["n"])


async def pending(database: Database, tenant_id: uuid.UUID, body: bytes) -> None:
    """Write an event that no relay has seen yet."""
    await database.fetch(
        "insert into enrichment.outbox (event_id, tenant_id, subject, event_type, source, body,"
        " occurred_at) values (gen_random_uuid(), $1, 's', 't', 's', $2, now())",
        tenant_id,
        body,
    )


async def published(database: Database, tenant_id: uuid.UUID, body: bytes) -> None:
    """Write an event that is published, and kept until activity has handled it."""
    await database.fetch(
        "insert into enrichment.published (stream, generation, sequence, tenant_id, outbox_id,"
        " event_id, subject, event_type, source, body, occurred_at)"
        " values ('ENRICH', 0, (select count(*) from enrichment.published), $1, 1,"
        " gen_random_uuid(), 's', 't', 's', $2, now())",
        tenant_id,
        body,
    )


@pytest.fixture
async def quiet(pool: Pool, nats: Client, ours: Identity) -> ErasureRpc:
    """ErasureRpc without a running service, so that nothing is published meanwhile."""
    relay = Relay(pool, nats, "enrichment_relay")
    set_caller(Caller(ours.user_id, ours.tenant_id, frozenset()))
    return ErasureRpc(pool, relay, utc_now, Hasher(b"secret of the tests"), Hints(nats), nats)


OF_ENRICHMENT = pytest.mark.parametrize("pool", ["enrichment"], indirect=True)


# -- prospects -------------------------------------------------------------------------------------


async def test_of_an_erased_prospect_only_the_ledger_and_the_receipt_stay(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    prospect = await finished(enrichment, ours, **APPLE)
    spent = await count(database, "ledger")
    receipt = await erase(enrichment, ours, prospect.prospect_id)
    assert receipt.runs == 1
    assert receipt.receipt_id
    assert receipt.erased_at.seconds
    assert {table: await count(database, table) for table in PERSONAL} == dict.fromkeys(PERSONAL, 0)
    assert await count(database, "ledger") == spent > 0
    (kept,) = await database.fetch("select e::text as text from enrichment.erasures e")
    assert "Ada" not in kept["text"]
    request = pb.GetProspectRequest(prospect_id=prospect.prospect_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.GetProspect(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_erasing_again_gives_the_same_receipt(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    prospect = await finished(enrichment, ours)
    receipts = [await erase(enrichment, ours, prospect.prospect_id) for _ in range(2)]
    assert receipts[0] == receipts[1]


async def test_others_are_left_alone(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    erased, kept = await finished(enrichment, ours), await finished(enrichment, ours)
    await erase(enrichment, ours, erased.prospect_id)
    rows = await database.fetch("select prospect_id::text as id from enrichment.prospects")
    assert [row["id"] for row in rows] == [kept.prospect_id]


async def test_an_erasure_can_suppress_what_was_asked_with_and_what_was_found(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    person = {"name": "Katherine Adams", **APPLE}
    prospect = await finished(enrichment, ours, **person)
    assert prospect.contact_data.work_emails
    await erase(enrichment, ours, prospect.prospect_id, suppress=True)
    by_found = {"name": "K. A.", "email": prospect.contact_data.work_emails[0]}
    for asked in (person, by_found):
        again = await finished(enrichment, ours, **asked)
        assert statuses(again)["exa"] == "SUPPRESSED"
    rows = await database.fetch("select distinct reason from enrichment.suppressions")
    assert [row["reason"] for row in rows] == ["erased"]


@pytest.mark.parametrize("spoilt", ['{"nonsense": 1}', "[1]", '"text"'])
async def test_a_prospect_whose_findings_cannot_be_read_is_shown_and_erased(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database, spoilt: str
) -> None:
    found = await finished(enrichment, ours, name="Katherine Adams", **APPLE)
    await database.fetch("update enrichment.prospects set contact_data = $1", spoilt)
    request = pb.GetProspectRequest(prospect_id=found.prospect_id)
    shown = (await enrichment.GetProspect(request, metadata=ours.metadata())).prospect
    assert not shown.HasField("contact_data")
    assert shown.web_data == found.web_data
    await erase(enrichment, ours, found.prospect_id, suppress=True)
    assert await count(database, "suppressions") == 1


async def test_a_call_that_is_out_at_an_erasure_keeps_its_reservation(
    database: Database, nats_server: servers.Nats
) -> None:
    sources, out = Sources(), asyncio.Event()

    async def hang(call: SourceCall) -> Answer:
        out.set()
        await asyncio.sleep(60)
        raise AssertionError

    sources.answers[SourceName.CONTACTOUT] = hang
    async with engine(database.dsn("enrichment_app"), nats_server.url, sources) as one:
        run_id = (await one.accept()).run_id
        await out.wait()
        await database.fetch("delete from enrichment.prospects")
        one.worker.cancel_run(run_id)
    entries = await ledger(database.dsn(), run_id)
    contact = [each["kind"] for each in entries if each["source"] == "contactout"]
    committed = sum(
        {"reserve": 1, "refund": -1}.get(each["kind"], 0) * each["amount_micros"]
        for each in entries
    )
    (day,) = await database.fetch(
        "select committed_micros from enrichment.spending where source = 'all'"
    )
    assert contact == ["reserve"]
    assert day["committed_micros"] == committed


async def test_a_run_in_flight_loses_its_lease_and_its_answers_are_dropped(
    database: Database, nats_server: servers.Nats
) -> None:
    sources, out, back = Sources(), asyncio.Event(), asyncio.Event()

    async def answer(call: SourceCall) -> Answer:
        out.set()
        await back.wait()
        return Answer(finding(SourceName.EXA))

    sources.answers[SourceName.EXA] = answer
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, sources) as one:
        await one.accept()
        await out.wait()
        await database.fetch("delete from enrichment.prospects")
        back.set()
        other = await one.accept(ADA)
        await one.ended(other.run_id)
    rows = await database.fetch("select run_id from enrichment.runs")
    assert [row["run_id"] for row in rows] == [other.run_id]
    ended = await database.fetch("select distinct run_id from enrichment.attempts")
    assert [row["run_id"] for row in ended] == [other.run_id]


async def test_a_prospect_whose_call_is_out_can_be_erased(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    database: Database,
    nats: Client,
) -> None:
    told = await nats.subscribe(f"prospect.enrich.*.{ours.tenant_id}")
    await sandbox_desk.order("exa", "latency", value=1)
    run = await begun(enrichment, ours)
    await until_exa_is(enrichment, ours, run, IN_PROGRESS)
    receipt = await erase(enrichment, ours, run.prospect_id)
    assert receipt.runs == 1
    kept = await finished(enrichment, ours)
    rows = await database.fetch("select prospect_id::text as id from enrichment.prospects")
    assert [row["id"] for row in rows] == [kept.prospect_id]
    ends = set[str]()
    while not ends:
        message = await told.next_msg(timeout=30)
        if "completed" in message.subject or "failed" in message.subject:
            ends.add(events_pb2.EnrichmentCompleted.FromString(message.data).prospect_id)
    assert ends == {kept.prospect_id}


@OF_ENRICHMENT
async def test_pending_events_are_removed_and_counted(
    quiet: ErasureRpc, ours: Identity, rows: Rows, database: Database
) -> None:
    prospect_id = await rows.prospect()
    await rows.run(prospect_id)
    mine = events_pb2.EnrichmentProgressed(prospect_id=str(prospect_id)).SerializeToString()
    others = events_pb2.EnrichmentProgressed(prospect_id=str(uuid.uuid4())).SerializeToString()
    for body in (mine, others, mine):
        await pending(database, ours.tenant_id, body)
    request = pb.EraseProspectRequest(prospect_id=str(prospect_id))
    receipt = await quiet.EraseProspect(request, cast("Context", None))
    assert (receipt.runs, receipt.pending_events) == (1, 2)
    left = await database.fetch("select body from enrichment.outbox")
    assert [row["body"] for row in left] == [others]


@OF_ENRICHMENT
async def test_events_that_are_published_and_kept_are_removed_and_not_counted(
    quiet: ErasureRpc, ours: Identity, rows: Rows, database: Database
) -> None:
    prospect_id = await rows.prospect()
    mine = events_pb2.EnrichmentCompleted(prospect_id=str(prospect_id)).SerializeToString()
    others = events_pb2.EnrichmentCompleted(prospect_id=str(uuid.uuid4())).SerializeToString()
    for body in (mine, others):
        await published(database, ours.tenant_id, body)
    request = pb.EraseProspectRequest(prospect_id=str(prospect_id))
    receipt = await quiet.EraseProspect(request, cast("Context", None))
    assert receipt.pending_events == 0
    left = await database.fetch("select body from enrichment.published")
    assert [row["body"] for row in left] == [others]


@OF_ENRICHMENT
async def test_an_erasure_waits_for_the_relay_so_that_the_receipt_counts_right(
    quiet: ErasureRpc, rows: Rows, database: Database
) -> None:
    prospect_id = await rows.prospect()
    lease = "update enrichment.relay_lease set expires_at = now() + $1::int * interval '1 hour'"
    await database.fetch(lease, 1)  # a relay has events in hand
    request = pb.EraseProspectRequest(prospect_id=str(prospect_id))
    erasing = asyncio.create_task(quiet.EraseProspect(request, cast("Context", None)))
    async with asyncio.timeout(20):
        while not await database.fetch(
            "select from pg_stat_activity where state = 'idle in transaction'"
            " and query like '%relay_lease%' and datname = current_database()"
        ):
            await asyncio.sleep(0.02)
        assert await count(database, "prospects") == 1
        await database.fetch(lease, -1)
        await erasing
    assert await count(database, "prospects") == 0


async def test_a_batch_whose_last_open_run_is_erased_ends(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    nats: Client,
) -> None:
    told = await nats.subscribe(f"prospect.enrich.batch.{ours.tenant_id}")
    await sandbox_desk.order("exa", "hang", about="Ada Lovelace 0")
    batch_id, prospect_id = str(uuid.uuid4()), str(uuid.uuid4())
    people = [person(0, prospect_id=prospect_id), person(1)]
    sending = asyncio.create_task(send(enrichment, ours, chunk(batch_id, 0, people)))
    async with asyncio.timeout(30):
        while True:
            try:
                await erase(enrichment, ours, prospect_id)
                break
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                await asyncio.sleep(0.02)
        _, progress = await sending
    assert (progress[-1].total, progress[-1].complete) == (1, 1)
    event = events_pb2.BatchEnded.FromString((await told.next_msg(timeout=30)).data)
    assert event.batch_id == batch_id
    assert len(await watch(enrichment, ours, batch_id)) == 1


@pytest.mark.parametrize("prospect_id", ["", "7"])
async def test_a_bad_erasure_names_its_field(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, prospect_id: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await erase(enrichment, ours, prospect_id)
    assert [name for name, _ in violations(refused.value)] == ["prospect_id"]


# -- users -----------------------------------------------------------------------------------------


def erased(tenant_id: uuid.UUID, user_id: uuid.UUID) -> OutgoingEvent:
    """Return the event that tells that a user was erased."""
    message = activity_events.UserErased(
        tenant_id=str(tenant_id),
        user_id=str(user_id),
        receipt_id=str(uuid.uuid4()),
        erased_at=to_timestamp(utc_now()),
    )
    return OutgoingEvent.of(f"tenant.erased.{tenant_id}", message, "test")


async def handled(nats: Client) -> None:
    """Wait until every event about erased users has been handled."""
    consumer, jetstream = topology.ENRICHMENT_ERASED, nats.jetstream()
    last = (await jetstream.stream_info(consumer.stream)).state.last_seq
    async with asyncio.timeout(30):
        while True:
            # Not by what is pending: the broker counts that a moment after it took an event.
            info = await jetstream.consumer_info(consumer.stream, consumer.name)
            if info.ack_floor and info.ack_floor.stream_seq >= last:
                return
            await asyncio.sleep(0.02)


async def test_an_erased_user_is_anonymous_in_runs_batches_and_receipts(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    rows: Rows,
    database: Database,
    nats: Client,
) -> None:
    await send(enrichment, ours, chunk(str(uuid.uuid4()), 0, [person()]))
    gone = await finished(enrichment, ours)
    await erase(enrichment, ours, gone.prospect_id)
    other = uuid.uuid4()
    await rows.run(user_id=other)
    same_user = Rows(database, theirs.tenant_id)
    await same_user.run(user_id=ours.user_id)
    event = erased(ours.tenant_id, ours.user_id)
    await messaging.publish(nats, event)
    await handled(nats)
    for table in ("runs", "batches", "erasures"):
        found = await database.fetch(
            f"select user_id from enrichment.{table} where tenant_id = $1", ours.tenant_id
        )
        assert {row["user_id"] for row in found} - {other} == {NOBODY}
    assert await database.fetch("select from enrichment.runs where user_id = $1", other)
    (left,) = await database.fetch(
        "select user_id from enrichment.runs where tenant_id = $1", theirs.tenant_id
    )
    assert left["user_id"] == ours.user_id
    # What comes twice, as after a lost acknowledgement, changes nothing.
    repeat = event.headers() | {"Nats-Msg-Id": "another"}
    await nats.jetstream().publish(event.subject, event.body, headers=repeat)
    await handled(nats)
    consumer = topology.ENRICHMENT_ERASED.name
    seen = await database.fetch("select from enrichment.inbox where consumer = $1", consumer)
    assert len(seen) == 1


async def test_events_of_runs_in_hand_name_the_anonymous_user(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    nats: Client,
) -> None:
    told = await nats.subscribe(f"prospect.enrich.completed.{ours.tenant_id}")
    await sandbox_desk.order("exa", "latency", value=1)
    run = await begun(enrichment, ours)
    await until_exa_is(enrichment, ours, run, IN_PROGRESS)
    await messaging.publish(nats, erased(ours.tenant_id, ours.user_id))
    event = events_pb2.EnrichmentCompleted.FromString((await told.next_msg(timeout=30)).data)
    assert (event.run_id, event.user_id) == (run.run_id, str(NOBODY))


@OF_ENRICHMENT
async def test_pending_events_name_the_anonymous_user_and_stay_valid(
    pool: Pool, ours: Identity, database: Database
) -> None:
    message = events_pb2.BatchEnded(
        tenant_id=str(ours.tenant_id), batch_id=str(uuid.uuid4()), user_id=str(ours.user_id)
    )
    await pending(database, ours.tenant_id, message.SerializeToString())
    async with tenant_transaction(pool, ours.tenant_id) as connection:
        await forget_user(connection, ours.tenant_id, ours.user_id)
    (left,) = await database.fetch("select body from enrichment.outbox")
    message.user_id = str(NOBODY)
    assert left["body"] == message.SerializeToString()


@OF_ENRICHMENT
async def test_events_that_are_published_and_kept_name_the_anonymous_user(
    pool: Pool, ours: Identity, database: Database
) -> None:
    message = events_pb2.EnrichmentCompleted(user_id=str(ours.user_id))
    await published(database, ours.tenant_id, message.SerializeToString())
    async with tenant_transaction(pool, ours.tenant_id) as connection:
        await forget_user(connection, ours.tenant_id, ours.user_id)
    (left,) = await database.fetch("select body from enrichment.published")
    message.user_id = str(NOBODY)
    assert left["body"] == message.SerializeToString()


async def test_an_event_for_another_tenant_than_its_subject_says_is_a_dead_letter(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    rows: Rows,
    database: Database,
    nats: Client,
) -> None:
    await rows.run(user_id=ours.user_id)
    event = erased(ours.tenant_id, ours.user_id)
    dead = await nats.subscribe("dead.>")
    subject = f"tenant.erased.{theirs.tenant_id}"
    await nats.jetstream().publish(subject, event.body, headers=event.headers())
    assert (await dead.next_msg(timeout=30)).subject == f"dead.{subject}"
    (run,) = await database.fetch("select user_id from enrichment.runs")
    assert run["user_id"] == ours.user_id
