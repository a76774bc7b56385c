"""Batches: chunks in, each answered after its commit; progress out; watched from anywhere."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import events_pb2, prospect_pb2

from tests.enrichment.rows import Rows
from tests.enrichment.test_service import followed
from tests.harness import Database, Identity, SandboxDesk, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub


def person(number: int = 0, **fields: Any) -> pb.RequestEnrichmentRequest:
    """Return a request for somebody."""
    values = {"name": f"Ada Lovelace {number}", "company": "Analytical Engines"} | fields
    return pb.RequestEnrichmentRequest(**values)


def chunk(
    batch_id: str, first: int, people: Sequence[pb.RequestEnrichmentRequest]
) -> pb.BatchRequestEnrichmentsRequest:
    """Return a chunk of a batch."""
    return pb.BatchRequestEnrichmentsRequest(batch_id=batch_id, first_index=first, requests=people)


async def send(
    enrichment: EnrichmentServiceAsyncStub,
    who: Identity,
    *chunks: pb.BatchRequestEnrichmentsRequest,
) -> tuple[list[pb.AcceptedChunk], list[pb.BatchProgress]]:
    """Send a whole batch and follow it to its end; return the answers and the progress."""
    answers = [
        each
        async for each in enrichment.BatchRequestEnrichments(iter(chunks), metadata=who.metadata())
    ]
    accepted = [each.accepted for each in answers if each.HasField("accepted")]
    return accepted, [each.progress for each in answers if each.HasField("progress")]


async def watch(
    enrichment: EnrichmentServiceAsyncStub, who: Identity, batch_id: str, token: str = ""
) -> list[pb.WatchBatchResponse]:
    """Follow a batch to its end."""
    request = pb.WatchBatchRequest(batch_id=batch_id, resume_token=token)
    return [each async for each in enrichment.WatchBatch(request, metadata=who.metadata())]


async def test_a_batch_is_accepted_by_chunks_and_followed_to_its_last_end(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, nats: Client, database: Database
) -> None:
    batch_id = str(uuid.uuid4())
    told = await nats.subscribe(f"prospect.enrich.batch.{ours.tenant_id}")
    chunks = [chunk(batch_id, 5 * n, [person(5 * n + k) for k in range(5)]) for n in range(3)]
    accepted, progress = await send(enrichment, ours, *chunks)
    assert [(each.first_index, each.accepted, each.joined) for each in accepted] == [
        (0, 5, 0), (5, 5, 0), (10, 5, 0),
    ]  # fmt: skip
    last = progress[-1]
    assert (last.batch_id, last.total, last.complete) == (batch_id, 15, 15)
    assert last.pending == last.in_progress == last.failed == last.cancelled == 0
    assert last.cost_micros > 0
    assert all(each.total == 15 for each in progress)
    event = events_pb2.BatchEnded.FromString((await told.next_msg(timeout=30)).data)
    assert (event.batch_id, event.user_id) == (batch_id, str(ours.user_id))
    found = await database.fetch(
        "select prospect_id::text, batch_id::text, priority from enrichment.runs"
    )
    assert {row["batch_id"] for row in found} == {batch_id}
    assert {row["priority"] for row in found} == {1}
    named = {each for answer in accepted for each in answer.prospect_ids}
    assert named == {row["prospect_id"] for row in found}


async def test_equal_requests_of_a_batch_are_bought_once_whatever_their_spelling(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    database: Database,
) -> None:
    batch_id = str(uuid.uuid4())
    ada = person(email="ada@engines.example", force=True)
    other = person(
        name="ADA  lovelace 0", email="Ada@engines.example", force=True, title="Countess"
    )
    first, progress = await send(enrichment, ours, chunk(batch_id, 0, [ada, other, person(1)]))
    assert [(each.accepted, each.joined) for each in first] == [(3, 1)]
    one, two, three = first[0].prospect_ids
    assert one == two != three
    assert await sandbox_desk.calls("exa") == 2
    (spent,) = await database.fetch(
        "select sum(cost_micros)::bigint as micros from enrichment.steps"
    )
    assert progress[-1].cost_micros == spent["micros"]


async def test_an_equal_request_in_a_later_chunk_gets_the_run_that_has_ended(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    batch_id = str(uuid.uuid4())
    ada = person(force=True)
    first_has_ended = asyncio.Event()

    async def chunks() -> AsyncIterator[pb.BatchRequestEnrichmentsRequest]:
        yield chunk(batch_id, 0, [ada])
        await first_has_ended.wait()
        yield chunk(batch_id, 1, [ada, person(1)])

    call = enrichment.BatchRequestEnrichments(chunks(), metadata=ours.metadata())
    answers = aiter(call)
    first = await anext(answers)
    await followed(enrichment, ours, first.accepted.prospect_ids[0])
    first_has_ended.set()
    rest = [each async for each in answers]
    assert rest[0].accepted.joined == 1
    assert rest[0].accepted.prospect_ids[0] == first.accepted.prospect_ids[0]
    last = rest[-1].progress
    assert (last.total, last.complete) == (3, 3)
    assert await sandbox_desk.calls("contactout") == 2


async def test_a_person_of_an_earlier_batch_is_not_bought_again_while_the_answers_are_fresh(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    sandbox_desk: SandboxDesk,
) -> None:
    ids = []
    for _ in range(2):
        accepted, progress = await send(
            enrichment,
            ours,
            chunk(str(uuid.uuid4()), 0, [person(), person(is_public_company=True)]),
        )
        ids.append(list(accepted[0].prospect_ids))
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2  # other words: another prospect
    assert await sandbox_desk.calls("contactout") == 2
    assert progress[-1].cost_micros == 0
    accepted, _ = await send(enrichment, theirs, chunk(str(uuid.uuid4()), 0, [person()]))
    assert accepted[0].prospect_ids[0] not in ids[0]


async def test_bad_requests_are_refused_by_index_field_and_rule_and_the_rest_accepted(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    faults = (
        person(name=""),
        person(name="Ada\0"),
        person(company=" "),
        person(sources=["exa", "exa"]),
    )
    people = [person(), *faults]
    (accepted,), progress = await send(enrichment, ours, chunk(str(uuid.uuid4()), 7, people))
    assert [(each.index, each.field, each.rule) for each in accepted.refused] == [
        (8, "name", "string.min_len"),
        (9, "name", "string.pattern"),
        (10, "company", "string.not_blank"),
        (11, "sources", "repeated.unique"),
    ]
    assert all(each.message for each in accepted.refused)
    assert [bool(each) for each in accepted.prospect_ids] == [True, *[False] * 4]
    assert progress[-1].total == accepted.accepted == 1


async def test_a_batch_of_which_everything_is_refused_ends_at_once(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    batch_id = str(uuid.uuid4())
    (accepted,), progress = await send(enrichment, ours, chunk(batch_id, 0, [person(name="")]))
    assert len(accepted.refused) == 1
    assert [each.total for each in progress] == [0]


@pytest.mark.parametrize(
    ("places", "field", "rule"),
    [
        ([(0, 3), (2, 3)], "first_index", "batch.overlap"),
        ([(9_999, 2)], "first_index", "batch.most"),
        ([(-1, 1)], "first_index", "int32.gte_lt"),
        ([(0, 501)], "requests", "repeated.max_items"),
    ],
)
async def test_places_that_are_not_the_batchs_are_refused(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    places: list[tuple[int, int]],
    field: str,
    rule: str,
) -> None:
    batch_id = str(uuid.uuid4())
    chunks = [chunk(batch_id, first, [person()] * count) for first, count in places]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await send(enrichment, ours, *chunks)
    assert violations(refused.value) == [(field, rule)]


async def test_a_call_sends_one_batch(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    chunks = [chunk(str(uuid.uuid4()), n, [person()]) for n in range(2)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await send(enrichment, ours, *chunks)
    assert violations(refused.value) == [("batch_id", "batch.same")]


async def test_a_batch_sent_again_is_accepted_once_and_a_closed_one_takes_no_more(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    batch_id = str(uuid.uuid4())
    (first,), _ = await send(enrichment, ours, chunk(batch_id, 0, [person(0), person(1)]))
    (again,), _ = await send(
        enrichment, ours, chunk(batch_id, 0, [person(0), person(1), person(2)])
    )
    assert again.prospect_ids[:2] == first.prospect_ids
    assert (again.accepted, again.joined) == (2, 2)
    assert [(each.index, each.rule) for each in again.refused] == [(2, "batch.closed")]
    assert len(await database.fetch("select from enrichment.runs")) == 2


async def test_the_caller_may_leave_and_send_the_rest_later(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    batch_id, left = str(uuid.uuid4()), asyncio.Event()

    async def one_chunk() -> AsyncIterator[pb.BatchRequestEnrichmentsRequest]:
        yield chunk(batch_id, 0, [person(0)])
        await left.wait()

    call = enrichment.BatchRequestEnrichments(one_chunk(), metadata=ours.metadata())
    async for answer in call:
        assert answer.accepted.accepted == 1
        break
    call.cancel()
    left.set()
    chunks = [chunk(batch_id, n, [person(n)]) for n in range(2)]
    accepted, progress = await send(enrichment, ours, *chunks)
    assert [(each.accepted, each.joined) for each in accepted] == [(1, 1), (1, 0)]
    assert progress[-1].complete == 2
    assert len(await database.fetch("select from enrichment.runs")) == 2


async def test_a_place_whose_prospect_is_in_flight_joins_its_run(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "latency", value=0.5)
    batch_id, prospect_id = str(uuid.uuid4()), str(uuid.uuid4())
    people = [person(prospect_id=prospect_id)] * 2
    (accepted,), progress = await send(enrichment, ours, chunk(batch_id, 0, people))
    assert (accepted.accepted, accepted.joined) == (2, 1)
    assert progress[-1].complete == 2
    ended = [run for each in await watch(enrichment, ours, batch_id) for run in each.ended]
    assert [run.prospect_id for run in ended] == [prospect_id]


async def test_a_run_that_had_ended_before_it_joined_is_in_the_progress(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    batches, request_id = [str(uuid.uuid4()) for _ in range(2)], str(uuid.uuid4())
    for batch_id in batches:
        await send(enrichment, ours, chunk(batch_id, 0, [person(request_id=request_id)]))
    told = [await watch(enrichment, ours, batch_id) for batch_id in batches]
    first, second = ([run.run_id for each in news for run in each.ended] for news in told)
    assert first == second
    assert len(second) == 1


async def test_the_watch_sends_each_end_once_and_resumes_after_a_break(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    await sandbox_desk.order("exa", "latency", value=1.2)
    batch_id = str(uuid.uuid4())
    people = [person(n) for n in range(40)]
    sending = asyncio.create_task(send(enrichment, ours, chunk(batch_id, 0, people)))
    await _known(enrichment, ours, batch_id)
    request = pb.WatchBatchRequest(batch_id=batch_id)
    call = enrichment.WatchBatch(request, metadata=ours.metadata())
    before, token = list[prospect_pb2.Run](), ""
    async for news in call:
        before += news.ended
        token = news.resume_token
        if before:
            break
    call.cancel()
    after = [run for each in await watch(enrichment, ours, batch_id, token) for run in each.ended]
    await sending
    told = [run.run_id for run in [*before, *after]]
    assert len(told) == len(set(told)) == 40
    assert all(run.ended_at.seconds for run in after)


async def _known(enrichment: EnrichmentServiceAsyncStub, who: Identity, batch_id: str) -> None:
    """Wait until a batch is there."""
    async with asyncio.timeout(30):
        while True:
            try:
                request = pb.WatchBatchRequest(batch_id=batch_id)
                async for _ in enrichment.WatchBatch(request, metadata=who.metadata()):
                    return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                await asyncio.sleep(0.02)


async def test_the_watch_sends_at_most_two_messages_a_second(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, rows: Rows, database: Database
) -> None:
    run_ids = [await rows.run() for _ in range(4)]
    batch_id = await rows.batch(*run_ids)
    await database.fetch(
        "insert into enrichment.batch_runs (tenant_id, batch_id, place, run_id, end_order)"
        " select tenant_id, batch_id, 1000 + n, run_id, n"
        " from enrichment.batch_runs, generate_series(1, 1200) n where place = 1"
    )
    request, times = pb.WatchBatchRequest(batch_id=str(batch_id)), list[float]()
    sizes = []
    async for news in enrichment.WatchBatch(request, metadata=ours.metadata()):
        times.append(asyncio.get_running_loop().time())
        sizes.append(len(news.ended))
    assert sizes == [1000, 200]
    assert times[1] - times[0] >= 0.45


async def test_a_batch_whose_last_run_ends_while_it_is_closed_ends(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    batches = [str(uuid.uuid4()) for _ in range(30)]
    sent = (send(enrichment, ours, chunk(each, 0, [person()])) for each in batches)
    await asyncio.gather(*sent)
    open_ones = await database.fetch("select from enrichment.batches where ended_at is null")
    assert open_ones == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"batch_id": "7"}, "batch_id"),
        ({"batch_id": str(uuid.UUID(int=7)), "resume_token": "tampered"}, "resume_token"),
    ],
)
async def test_a_bad_watch_names_its_field(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, values: dict[str, str], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in enrichment.WatchBatch(
            pb.WatchBatchRequest(**values), metadata=ours.metadata()
        ):
            pass
    assert [name for name, _ in violations(refused.value)] == [field]
