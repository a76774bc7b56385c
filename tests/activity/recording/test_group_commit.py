"""Small calls: committed together, answered each by itself."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

from chassis.clock import new_id, to_timestamp, utc_now
from chassis.database import Pool
from chassis.outbox import Relay
from services.activity import sql
from services.activity.entries.batch import Batch, Window
from services.activity.months.partitions import Partitions
from services.activity.recording.recorder import Recorded, Recorder
from services.activity.recording.single_entries import SingleEntryRecorder
from tests.activity.recording.test_record_batch import an_activity
from tests.harness import Database, Identity, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

Outcome = pb.RecordActivityResponse | grpc.aio.AioRpcError


async def outcomes(
    activity: ActivityServiceAsyncStub, who: Identity, *new: pb.NewActivity
) -> list[Outcome]:
    """Record each entry by a call of its own, all at once."""
    metadata = who.metadata()

    async def call(each: pb.NewActivity) -> Outcome:
        try:
            request = pb.RecordActivityRequest(activity=each)
            return await activity.RecordActivity(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error

    return list(await asyncio.gather(*(call(each) for each in new)))


def kinds(found: list[Outcome]) -> Counter[str]:
    """Count the outcomes: recorded, duplicate, or the rule that was broken."""
    return Counter(
        violations(each)[0][1]
        if isinstance(each, grpc.aio.AioRpcError)
        else "duplicate" if each.duplicate else "recorded"
        for each in found
    )  # fmt: skip


async def test_calls_that_arrive_together_are_committed_in_few_transactions(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    found = await outcomes(activity, ours, *(an_activity() for _ in range(100)))
    assert kinds(found) == {"recorded": 100}
    rows = await database.fetch(
        "select count(*) as entries, count(distinct batch_id) as batches from activity.activity_log"
    )
    assert rows[0]["entries"] == 100
    assert rows[0]["batches"] < 50


async def test_each_call_has_the_id_of_its_own_entry(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    sent = [an_activity(activity_id=str(new_id())) for _ in range(20)]
    found = await outcomes(activity, ours, *sent)
    ids = [each.activity_id for each in found if isinstance(each, pb.RecordActivityResponse)]
    assert ids == [each.activity_id for each in sent]


async def test_the_same_entry_from_two_callers_at_once_is_recorded_once(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    twice = an_activity(activity_id=str(new_id()))
    found = await outcomes(activity, ours, twice, twice, *(an_activity() for _ in range(5)))
    assert kinds(found) == {"recorded": 6, "duplicate": 1}


async def test_an_entry_that_is_refused_leaves_the_others_of_its_group_recorded(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    taken = str(new_id())
    await outcomes(activity, ours, an_activity(activity_id=taken))
    found = await outcomes(
        activity,
        ours,
        *(an_activity() for _ in range(10)),
        an_activity(activity_id=taken),  # another user's: other content
        an_activity(metadata_json="[]"),
        an_activity(metadata_json='{"a": "\\ud800"}'),
        an_activity(user_id="x"),
        an_activity(created_at=to_timestamp(utc_now() + timedelta(days=2))),
    )
    assert kinds(found) == {
        "recorded": 10,
        "activity.not_ahead": 1,
        "activity.id_taken": 1,
        "json.object": 1,
        "json": 1,
        "string.uuid": 1,
    }


async def test_each_call_is_told_of_its_own_entry_what_became_of_it(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    known = an_activity(activity_id=str(new_id()))
    await outcomes(activity, ours, known)
    other = an_activity(activity_id=known.activity_id)
    sent = [an_activity(), an_activity(metadata_json="["), known, an_activity(), other]
    found = await outcomes(activity, ours, *sent)
    told = ["recorded", "json", "duplicate", "recorded", "activity.id_taken"]
    assert [next(iter(kinds([each]))) for each in found] == told


async def test_a_refused_entry_is_named_as_it_was_sent(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    bad = [an_activity(metadata_json="{"), an_activity(user_id="x", ip_address="y")]
    found = await outcomes(activity, ours, *bad)
    refused = [each for each in found if isinstance(each, grpc.aio.AioRpcError)]
    assert [each.code() for each in refused] == [grpc.StatusCode.INVALID_ARGUMENT] * 2
    assert [violations(each) for each in refused] == [
        [("activity.metadata_json", "json")],
        [("activity.user_id", "string.uuid"), ("activity.ip_address", "string.ip")],
    ]


class Faulty(Recorder):
    """Records, but for some targets: as a bug would, as a server that is away, or late."""

    go_on = asyncio.Event()

    async def append_now(self, tenant_id: uuid.UUID, batch: Batch, *, partial: bool) -> Recorded:
        if "bug" in batch.columns.target_ids:
            raise RuntimeError("a bug")
        if "away" in batch.columns.target_ids:
            raise ConnectionRefusedError
        if "slow" in batch.columns.target_ids:
            await self.go_on.wait()
        return await super().append_now(tenant_id, batch, partial=partial)


@pytest.fixture
def single_entries(pool: Pool, nats: Client) -> SingleEntryRecorder:
    """What records single entries, with a recorder that can fail."""
    recorder = Faulty(pool, Relay(pool, nats, sql.RELAY_ROLE), Partitions(pool, utc_now))
    return SingleEntryRecorder(recorder, lambda: Window.at(utc_now(), timedelta(days=395)))


@pytest.mark.parametrize(("target", "lost"), [("bug", 1), ("away", 11)])
async def test_an_entry_that_breaks_the_service_takes_no_others_along(
    single_entries: SingleEntryRecorder, ours: Identity, database: Database, target: str, lost: int
) -> None:
    entries = [an_activity() for _ in range(10)]
    calls = (
        single_entries.append(ours.tenant_id, each)
        for each in [*entries, an_activity(target_id=target)]
    )
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, Exception) for each in found) == lost
    rows = await database.fetch("select count(*) from activity.activity_log")
    assert rows[0][0] == 11 - lost


async def test_an_entry_without_a_time_happened_when_it_came_and_not_when_it_was_recorded(
    single_entries: SingleEntryRecorder, ours: Identity, database: Database
) -> None:
    slow = an_activity(target_id="slow")
    recording = asyncio.create_task(single_entries.append(ours.tenant_id, slow))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(single_entries.append(ours.tenant_id, an_activity()))
    await asyncio.sleep(0)
    both_came = utc_now()
    Faulty.go_on.set()
    await asyncio.gather(recording, waiting)
    rows = await database.fetch("select max(created_at) as latest from activity.activity_log")
    assert rows[0]["latest"] <= both_came


async def test_a_missing_entry_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.RecordActivity(pb.RecordActivityRequest(), metadata=ours.metadata())
    assert violations(refused.value) == [("activity", "required")]


async def test_without_a_time_an_entry_happened_when_its_version_7_id_was_made(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    moment = utc_now().replace(microsecond=123_000)
    await outcomes(activity, ours, an_activity(activity_id=str(new_id(moment))))
    rows = await database.fetch("select created_at from activity.activity_log")
    assert [row["created_at"] for row in rows] == [moment]


async def test_tenants_in_one_moment_get_their_own_entries(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity, database: Database
) -> None:
    await asyncio.gather(
        outcomes(activity, ours, *(an_activity() for _ in range(20))),
        outcomes(activity, theirs, *(an_activity() for _ in range(30))),
    )
    rows = await database.fetch("select tenant_id from activity.activity_log")
    expected = {ours.tenant_id: 20, theirs.tenant_id: 30}
    assert Counter(row["tenant_id"] for row in rows) == expected


async def test_a_group_is_published_whole(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    subscription = await nats.subscribe(f"activity.recorded.{ours.tenant_id}")
    found = await outcomes(activity, ours, *(an_activity() for _ in range(30)))
    wanted = {each.activity_id for each in found if isinstance(each, pb.RecordActivityResponse)}
    published: set[str] = set()
    async with asyncio.timeout(30):
        while published != wanted:
            message = await subscription.next_msg(timeout=30)
            event = events_pb2.ActivitiesRecorded.FromString(message.data)
            published |= set(event.activity_ids)


async def test_a_caller_that_leaves_does_not_take_the_others_along(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    request = pb.RecordActivityRequest(activity=an_activity())
    leaving = [activity.RecordActivity(request, metadata=ours.metadata()) for _ in range(5)]

    async def leave() -> None:
        for call in leaving:
            call.cancel()

    found, _ = await asyncio.gather(
        outcomes(activity, ours, *(an_activity() for _ in range(20))), leave()
    )
    assert kinds(found) == {"recorded": 20}


async def test_an_entry_sent_again_with_another_time_of_its_own_is_another_entry(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    key = str(new_id())
    moments = [to_timestamp(utc_now()), to_timestamp(utc_now())]
    found = await outcomes(
        activity, ours, *(an_activity(activity_id=key, created_at=each) for each in moments)
    )
    assert kinds(found) == {"recorded": 2}


async def test_a_uuid_in_capitals_is_the_same_uuid(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    key, user = str(new_id()), str(uuid.uuid4())
    await outcomes(activity, ours, an_activity(activity_id=key, user_id=user))
    found = await outcomes(
        activity, ours, an_activity(activity_id=key.upper(), user_id=user.upper())
    )
    assert kinds(found) == {"duplicate": 1}


async def test_metadata_nested_deeper_than_python_reads_are_recorded(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    deep = '{"a": ' + "[" * 2_000 + "]" * 2_000 + "}"
    entry = an_activity(action_type=pb.ACTION_TYPE_ADD_TO_LIST, metadata_json=deep)
    assert kinds(await outcomes(activity, ours, entry)) == {"recorded": 1}
