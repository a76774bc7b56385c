"""Listing: the tenant's entries, newest first, page by page, narrowed by filters."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id, to_timestamp, utc_now
from tests.harness import Identity, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

ANA, BEN = str(uuid.uuid4()), str(uuid.uuid4())


async def a_log(
    activity: ActivityServiceAsyncStub, ours: Identity, count: int = 12
) -> tuple[list[str], datetime]:
    """Record entries a minute apart; return their ids, newest first, and the oldest's time."""
    start = utc_now() - timedelta(minutes=count)
    entries = [
        pb.NewActivity(
            activity_id=str(new_id()),
            user_id=ANA if index % 2 else BEN,
            action_type=pb.ACTION_TYPE_LOGIN if index % 3 else pb.ACTION_TYPE_NOTE_ADDED,
            created_at=to_timestamp(start + timedelta(minutes=index)),
        )
        for index in range(count)
    ]
    request = pb.RecordActivitiesRequest(activities=entries)
    response = await activity.RecordActivities(request, metadata=ours.metadata())
    return list(reversed(response.activity_ids)), start


async def ids(
    activity: ActivityServiceAsyncStub, ours: Identity, request: pb.ListActivitiesRequest
) -> list[str]:
    """Return the ids of every page."""
    found: list[str] = []
    while True:
        page = await activity.ListActivities(request, metadata=ours.metadata())
        found += [each.activity_id for each in page.activities]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_entries_come_newest_first(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    newest_first, _ = await a_log(activity, ours)
    assert await ids(activity, ours, pb.ListActivitiesRequest()) == newest_first


async def test_pages_hold_every_entry_once(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    newest_first, _ = await a_log(activity, ours)
    assert await ids(activity, ours, pb.ListActivitiesRequest(page_size=5)) == newest_first


async def test_entries_of_the_same_moment_are_split_between_pages_without_loss(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    moment = to_timestamp(utc_now())
    entries = [
        pb.NewActivity(user_id=ANA, action_type=pb.ACTION_TYPE_LOGIN, created_at=moment)
        for _ in range(7)
    ]
    await activity.RecordActivities(
        pb.RecordActivitiesRequest(activities=entries), metadata=ours.metadata()
    )
    assert len(set(await ids(activity, ours, pb.ListActivitiesRequest(page_size=2)))) == 7


async def test_filters_narrow_together(activity: ActivityServiceAsyncStub, ours: Identity) -> None:
    newest_first, start = await a_log(activity, ours)
    oldest_first = list(reversed(newest_first))
    request = pb.ListActivitiesRequest(
        filter=pb.ActivityFilter(
            user_ids=[ANA],
            action_types=[pb.ACTION_TYPE_LOGIN],
            start_time=to_timestamp(start + timedelta(minutes=2)),
            end_time=to_timestamp(start + timedelta(minutes=9)),
        ),
    )
    wanted = [oldest_first[i] for i in range(2, 9) if i % 2 and i % 3]
    assert await ids(activity, ours, request) == list(reversed(wanted))


async def test_an_entry_comes_back_as_it_was_sent(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    sent = pb.NewActivity(
        activity_id=str(new_id()),
        user_id=ANA,
        action_type=pb.ACTION_TYPE_SEARCH_EXECUTED,
        target_id="list-7",
        metadata_json='{"query": "cfo"}',
        created_at=to_timestamp(utc_now()),
        ip_address="2001:db8::1",
        user_agent="curl/8",
    )
    await activity.RecordActivities(
        pb.RecordActivitiesRequest(activities=[sent]), metadata=ours.metadata()
    )
    page = await activity.ListActivities(pb.ListActivitiesRequest(), metadata=ours.metadata())
    got = page.activities[0]
    same = {field.name for field in sent.DESCRIPTOR.fields}
    assert {name: getattr(got, name) for name in same} == {n: getattr(sent, n) for n in same}


async def test_another_tenants_log_is_empty_to_us(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    await a_log(activity, theirs)
    assert await ids(activity, ours, pb.ListActivitiesRequest()) == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListActivitiesRequest(page_size=1001), "page_size"),
        (pb.ListActivitiesRequest(page_size=-1), "page_size"),
        (
            pb.ListActivitiesRequest(filter=pb.ActivityFilter(user_ids=["x"])),
            "filter.user_ids[0]",
        ),
        (pb.ListActivitiesRequest(page_token="tampered"), "page_token"),
    ],
)
async def test_a_bad_request_names_its_field(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    request_: pb.ListActivitiesRequest,
    field: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.ListActivities(request_, metadata=ours.metadata())
    assert [name for name, _ in violations(refused.value)] == [field]
