"""A request id makes a whole batch idempotent, alone and in a stream."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb

from tests.activity.recording.test_record_batch import an_activity
from tests.harness import Database, Identity, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub


def a_request(count: int = 3, **fields: object) -> pb.RecordActivitiesRequest:
    """Return a batch with a request id of its own."""
    values = {"request_id": str(uuid.uuid4())} | fields
    activities = [an_activity() for _ in range(count)]
    return pb.RecordActivitiesRequest(activities=activities, **values)  # type: ignore[arg-type]


def a_chunk(*activities: pb.NewActivity) -> pb.StreamActivitiesRequest:
    """Return a chunk with a request id of its own."""
    return pb.StreamActivitiesRequest(activities=activities, request_id=str(uuid.uuid4()))


async def count(database: Database) -> int:
    """Return how many entries the log has."""
    rows = await database.fetch("select count(*) as entries from activity.activity_log")
    return int(rows[0]["entries"])


async def test_a_request_sent_again_gets_the_first_answer_with_its_ids(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = a_request()
    first = await activity.RecordActivities(request, metadata=ours.metadata())
    again = await activity.RecordActivities(request, metadata=ours.metadata())
    assert (first.is_repeat, again.is_repeat) == (False, True)
    again.ClearField("is_repeat")
    assert again == first
    assert await count(database) == 3


async def test_the_ids_a_client_made_come_back_in_a_repeated_answer(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    request = a_request()
    first = await activity.RecordActivities(request, metadata=ours.metadata())
    for entry, activity_id in zip(request.activities, first.activity_ids, strict=True):
        entry.activity_id = activity_id
    request.request_id = str(uuid.uuid4())
    request.partial_success = True
    request.activities[1].user_id = "x"
    answers = [await activity.RecordActivities(request, metadata=ours.metadata()) for _ in range(2)]
    assert answers[0].refused_entries == answers[1].refused_entries
    assert answers[0].activity_ids == answers[1].activity_ids
    assert list(answers[1].activity_ids) == [
        request.activities[0].activity_id,
        "",
        request.activities[2].activity_id,
    ]


async def test_a_request_id_with_other_content_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    request = a_request()
    await activity.RecordActivities(request, metadata=ours.metadata())
    other = a_request(request_id=request.request_id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.RecordActivities(other, metadata=ours.metadata())
    assert violations(refused.value) == [("request_id", "request_id.taken")]


async def test_the_same_request_many_times_at_once_is_recorded_once(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request, metadata = a_request(200), ours.metadata()
    answers = await asyncio.gather(
        *(activity.RecordActivities(request, metadata=metadata) for _ in range(8))
    )
    assert sorted(answer.is_repeat for answer in answers) == [False] + [True] * 7
    assert len({tuple(answer.activity_ids) for answer in answers}) == 1
    assert await count(database) == 200


async def test_two_tenants_may_use_the_same_request_id(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity, database: Database
) -> None:
    request = a_request()
    await activity.RecordActivities(request, metadata=ours.metadata())
    await activity.RecordActivities(request, metadata=theirs.metadata())
    assert await count(database) == 6


async def test_a_refused_request_leaves_its_id_free(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    request = a_request()
    request.activities[0].metadata_json = "{"
    with pytest.raises(grpc.aio.AioRpcError):
        await activity.RecordActivities(request, metadata=ours.metadata())
    request.activities[0].metadata_json = "{}"
    answer = await activity.RecordActivities(request, metadata=ours.metadata())
    assert answer.recorded_count == 3


async def acknowledged(
    activity: ActivityServiceAsyncStub, who: Identity, *chunks: pb.StreamActivitiesRequest
) -> list[pb.StreamActivitiesResponse]:
    """Send chunks and return the acknowledgements."""
    call = activity.StreamActivities(iter(chunks), metadata=who.metadata())
    return [response async for response in call]


async def test_chunks_are_acknowledged_in_order_with_their_counts(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    chunks = [a_chunk(*(an_activity() for _ in range(n))) for n in (100, 1, 60, 2, 70, 3)]
    answers = await acknowledged(activity, ours, *chunks)
    assert [each.request_id for each in answers] == [each.request_id for each in chunks]
    assert [each.recorded_count for each in answers] == [100, 1, 60, 2, 70, 3]
    assert answers[-1].total_recorded_count == 236


async def test_a_chunk_is_acknowledged_before_the_next_one_is_sent(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    answered = asyncio.Semaphore(1)

    async def one_at_a_time() -> AsyncIterator[pb.StreamActivitiesRequest]:
        for _ in range(5):
            await answered.acquire()
            yield a_chunk(an_activity())

    answers = 0
    async with asyncio.timeout(30):
        async for _ in activity.StreamActivities(one_at_a_time(), metadata=ours.metadata()):
            answers += 1
            answered.release()
    assert answers == 5


async def test_a_bad_entry_of_a_chunk_is_named_and_the_others_stand(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    chunk = a_chunk(an_activity(), an_activity(action_type=99), an_activity(metadata_json="["))
    (answer,) = await acknowledged(activity, ours, chunk)
    assert answer.recorded_count == 1
    refused = [(each.index, each.field, each.rule) for each in answer.refused_entries]
    assert refused == [(1, "action_type", "enum.defined_only"), (2, "metadata_json", "json")]


async def test_a_chunk_without_a_request_id_ends_the_call_and_what_was_acknowledged_stands(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    call = activity.StreamActivities(
        iter([a_chunk(an_activity()), pb.StreamActivitiesRequest(activities=[an_activity()])]),
        metadata=ours.metadata(),
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in call:
            pass
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations(refused.value)[0][0] == "request_id"
    assert await count(database) == 1


async def test_a_stream_taken_up_again_after_a_break_records_nothing_twice(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    chunks = [a_chunk(*(an_activity() for _ in range(60))) for _ in range(10)]

    async def endless() -> AsyncIterator[pb.StreamActivitiesRequest]:
        for chunk in chunks[:6]:
            yield chunk
        await asyncio.sleep(60)

    call = activity.StreamActivities(endless(), metadata=ours.metadata())
    async for _ in call:
        break  # one is acknowledged, others may be committed
    call.cancel()
    answers = await acknowledged(activity, ours, *chunks)
    assert sum(each.recorded_count for each in answers) == 600
    assert await count(database) == 600
