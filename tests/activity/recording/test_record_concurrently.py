"""Recording beside others: the same entries at once, and entries whose month has gone."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id, to_datetime, to_timestamp, utc_now
from chassis.database import MAX_ATTEMPTS, retry_if_aborted
from chassis.transient import RetryLater
from tests.activity.recording.test_record_batch import an_activity
from tests.activity.retention.test_erase import until_waiting
from tests.harness import Database, Identity

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

REQUEST_IDS = ["", str(uuid.UUID(int=7))]


def keyed(count: int) -> list[pb.NewActivity]:
    """Return entries whose keys the caller made."""
    moment = utc_now()
    return [
        an_activity(activity_id=str(new_id(moment)), created_at=to_timestamp(moment))
        for _ in range(count)
    ]


async def test_batches_with_the_same_entries_in_another_order_do_not_stop_each_other(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    for _ in range(5):
        entries = keyed(300)
        orders = [random.sample(entries, len(entries)) for _ in range(6)]
        async with asyncio.timeout(30):
            answers = await asyncio.gather(
                *(
                    activity.RecordActivities(
                        pb.RecordActivitiesRequest(activities=order), metadata=ours.metadata()
                    )
                    for order in orders
                )
            )
        assert sum(answer.recorded_count for answer in answers) == 300
        assert sum(answer.duplicate_count for answer in answers) == 300 * 5
        for order, answer in zip(orders, answers, strict=True):
            assert list(answer.activity_ids) == [each.activity_id for each in order]


INSERT = (
    "insert into activity.activity_log (tenant_id, activity_id, user_id, action_type, created_at)"
    " values ($1, $2, $3, 'login', $4)"
)


@pytest.mark.parametrize("request_id", REQUEST_IDS)
async def test_a_batch_that_is_given_up_for_another_is_begun_again(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database, request_id: str
) -> None:
    entries = sorted(keyed(2), key=lambda each: each.activity_id)
    other = await asyncpg.connect(database.dsn())
    await other.execute("set deadlock_timeout = '20s'")  # so that it is not the one given up
    inserting = other.transaction()
    await inserting.start()

    async def insert(entry: pb.NewActivity) -> None:
        ids = (uuid.UUID(entry.activity_id), uuid.UUID(entry.user_id))
        await other.execute(INSERT, ours.tenant_id, *ids, to_datetime(entry.created_at))

    await insert(entries[1])
    request = pb.RecordActivitiesRequest(activities=entries, request_id=request_id)
    recording = asyncio.ensure_future(activity.RecordActivities(request, metadata=ours.metadata()))
    await until_waiting(database)
    await insert(entries[0])
    await inserting.commit()
    await other.close()
    assert (await recording).duplicate_count == 2


async def test_a_transaction_that_is_given_up_every_time_is_answered_as_a_server_that_is_away() -> (
    None
):
    begun = 0

    async def lose() -> None:
        nonlocal begun
        begun += 1
        raise asyncpg.SerializationError

    with pytest.raises(RetryLater):
        await retry_if_aborted(lose)
    assert begun == MAX_ATTEMPTS


@pytest.mark.parametrize("request_id", REQUEST_IDS)
@pytest.mark.parametrize("count", [1, 60])
async def test_an_entry_whose_known_month_was_dropped_is_recorded(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    database: Database,
    request_id: str,
    count: int,
) -> None:
    late = utc_now() - timedelta(days=200)

    async def record(request_id: str) -> int:
        entries = [an_activity(created_at=to_timestamp(late)) for _ in range(count)]
        request = pb.RecordActivitiesRequest(activities=entries, request_id=request_id)
        answer = await activity.RecordActivities(request, metadata=ours.metadata())
        return answer.recorded_count

    await record("")
    await database.fetch(f"drop table activity.activity_log_{late:%Y_%m}")
    assert await record(request_id) == count
