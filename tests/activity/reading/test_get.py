"""One entry by its id, counts of all, and what a bad request of either is told."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id, to_timestamp, utc_now
from tests.activity import log
from tests.harness import Identity, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

NOW = utc_now()


def an_entry(**fields: object) -> pb.NewActivity:
    """Return an entry of now, or as `fields` say."""
    values = {
        "activity_id": str(new_id(NOW)),
        "user_id": str(uuid.uuid4()),
        "action_type": pb.ACTION_TYPE_LOGIN,
        "created_at": to_timestamp(NOW),
    }
    return pb.NewActivity(**(values | fields))  # type: ignore[arg-type]


async def got(
    activity: ActivityServiceAsyncStub, who: Identity, request: pb.GetActivityRequest
) -> pb.Activity | grpc.StatusCode:
    """Return the entry, or the status of the refusal."""
    try:
        return (await activity.GetActivity(request, metadata=who.metadata())).activity
    except grpc.aio.AioRpcError as error:
        return error.code()


@pytest.mark.parametrize("away", [timedelta(), timedelta(hours=23), timedelta(hours=-23)])
async def test_an_entry_is_found_by_an_id_made_within_a_day_of_it(
    activity: ActivityServiceAsyncStub, ours: Identity, away: timedelta
) -> None:
    entry = an_entry(activity_id=str(new_id(NOW + away)))
    await log.record(activity, ours, [entry])
    found = await got(activity, ours, pb.GetActivityRequest(activity_id=entry.activity_id))
    assert isinstance(found, pb.Activity)
    assert (found.activity_id, found.user_id) == (entry.activity_id, entry.user_id)


async def test_an_id_of_another_version_is_found_with_the_time_it_happened_at(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = an_entry(activity_id=str(uuid.uuid4()))
    await log.record(activity, ours, [entry])
    request = pb.GetActivityRequest(activity_id=entry.activity_id, created_at=entry.created_at)
    found = await got(activity, ours, request)
    assert isinstance(found, pb.Activity)
    assert found.created_at == entry.created_at


async def test_a_time_that_is_not_the_entrys_finds_nothing(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = an_entry()
    await log.record(activity, ours, [entry])
    for away in (timedelta(microseconds=1), timedelta(microseconds=-1)):
        moment = to_timestamp(NOW + away)
        request = pb.GetActivityRequest(activity_id=entry.activity_id, created_at=moment)
        assert await got(activity, ours, request) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "activity_id", [str(new_id()), "ffffffff-ffff-7fff-bfff-ffffffffffff"], ids=["new", "last"]
)
async def test_an_entry_that_is_not_there_is_not_found(
    activity: ActivityServiceAsyncStub, ours: Identity, activity_id: str
) -> None:
    request = pb.GetActivityRequest(activity_id=activity_id)
    assert await got(activity, ours, request) is grpc.StatusCode.NOT_FOUND


async def test_another_tenants_entry_is_not_found(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    entry = an_entry()
    await log.record(activity, theirs, [entry])
    request = pb.GetActivityRequest(activity_id=entry.activity_id, created_at=entry.created_at)
    assert await got(activity, ours, request) is grpc.StatusCode.NOT_FOUND


async def test_another_tenants_entries_are_not_counted(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    await log.record(activity, theirs, [an_entry()])
    answer = await activity.CountActivities(pb.CountActivitiesRequest(), metadata=ours.metadata())
    assert [each.activity_count for each in answer.counts] == [0]


async def test_entries_made_anonymous_are_listed_counted_and_got_without_who_and_what(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = an_entry(target_id="list-7", metadata_json='{"query": "cfo"}', user_agent="curl/8")
    await log.record(activity, ours, [entry])
    admin = ours.metadata("activity:admin activity:read")
    await activity.EraseUser(pb.EraseUserRequest(user_id=entry.user_id), metadata=admin)
    page = await activity.ListActivities(pb.ListActivitiesRequest(), metadata=admin)
    by_user = pb.CountActivitiesRequest(group_by=[pb.COUNT_DIMENSION_USER])
    (count,) = (await activity.CountActivities(by_user, metadata=admin)).counts
    (listed,) = page.activities
    nobody = str(uuid.UUID(int=0))
    assert (listed.activity_id, listed.user_id) == (entry.activity_id, nobody)
    assert (listed.target_id, listed.metadata_json, listed.user_agent) == ("", "{}", "")
    assert (count.user_id, count.activity_count) == (nobody, 1)
    assert await got(activity, ours, pb.GetActivityRequest(activity_id=entry.activity_id)) == listed


async def test_counts_by_hour_name_the_beginning_of_the_hour(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    moments = [hour, hour + timedelta(minutes=59), hour + timedelta(hours=1)]
    await log.record(
        activity,
        ours,
        [an_entry(activity_id=str(new_id()), created_at=to_timestamp(each)) for each in moments],
    )
    request = pb.CountActivitiesRequest(group_by=[pb.COUNT_DIMENSION_HOUR])
    answer = await activity.CountActivities(request, metadata=ours.metadata())
    counts = [(each.period_start, each.activity_count) for each in answer.counts]
    assert counts == [(to_timestamp(hour), 2), (to_timestamp(hour + timedelta(hours=1)), 1)]


@pytest.mark.parametrize("nanos", [1, 499, 500, 999, 1_001, 123_456_789, 999_999_999])
async def test_an_entry_is_found_by_the_time_that_was_sent(
    activity: ActivityServiceAsyncStub, ours: Identity, nanos: int
) -> None:
    sent = Timestamp(seconds=int(NOW.timestamp()), nanos=nanos)
    entry = an_entry(activity_id=str(uuid.uuid4()), created_at=sent)
    await log.record(activity, ours, [entry])
    by_time = pb.GetActivityRequest(activity_id=entry.activity_id, created_at=sent)
    found = (await activity.GetActivity(by_time, metadata=ours.metadata())).activity
    again = pb.RecordActivityRequest(activity=entry)
    again.activity.created_at.CopyFrom(found.created_at)
    assert (await activity.RecordActivity(again, metadata=ours.metadata())).duplicate
    before, since = pb.ActivityFilter(end_time=sent), pb.ActivityFilter(start_time=sent)
    listed = [
        [each.activity_id for each in answer.activities]
        for wanted in (before, since)
        for answer in [
            await activity.ListActivities(
                pb.ListActivitiesRequest(filter=wanted), metadata=ours.metadata()
            )
        ]
    ]
    assert listed == [[], [entry.activity_id]]


async def test_metadata_that_are_deep_are_no_fault(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    request = pb.ListActivitiesRequest(filter=pb.ActivityFilter(metadata_json=deep))
    page = await activity.ListActivities(request, metadata=ours.metadata())
    assert not page.activities


BAD_FILTERS = [
    (pb.ActivityFilter(user_ids=["x"]), "filter.user_ids[0]"),
    (pb.ActivityFilter(action_types=[0]), "filter.action_types[0]"),  # type: ignore[list-item]
    (pb.ActivityFilter(target_ids=[""]), "filter.target_ids[0]"),
    (pb.ActivityFilter(metadata_json="{no"), "filter.metadata_json"),
    (pb.ActivityFilter(metadata_json="[1]"), "filter.metadata_json"),
    (pb.ActivityFilter(metadata_json='{"a": NaN}'), "filter.metadata_json"),
    (pb.ActivityFilter(metadata_json='{"a": "\\u0000"}'), "filter.metadata_json"),
    (pb.ActivityFilter(start_time=Timestamp(seconds=10**14)), "filter.start_time"),
    (pb.ActivityFilter(end_time=Timestamp(nanos=-1)), "filter.end_time"),
    (pb.ActivityFilter(start_time=Timestamp(seconds=7), end_time=Timestamp()), "filter.end_time"),
    (pb.ActivityFilter(start_time=Timestamp(), end_time=Timestamp()), "filter.end_time"),
]


@pytest.mark.parametrize("method", ["List", "Count", "Tail", "Export"])
@pytest.mark.parametrize(("wanted", "field"), BAD_FILTERS)
async def test_every_call_names_the_field_of_a_bad_filter(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    method: str,
    wanted: pb.ActivityFilter,
    field: str,
) -> None:
    request = getattr(pb, f"{method}ActivitiesRequest")(filter=wanted)
    call = getattr(activity, f"{method}Activities")(request, metadata=ours.metadata())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call if method in ("List", "Count") else call.read())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [name for name, _ in violations(refused.value)] == [field]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GetActivityRequest(activity_id="x"), "activity_id"),
        (pb.GetActivityRequest(activity_id=str(uuid.uuid4())), "created_at"),
        (
            pb.GetActivityRequest(activity_id=str(new_id()), created_at=Timestamp(nanos=-1)),
            "created_at",
        ),
        (pb.CountActivitiesRequest(page_size=10_001), "page_size"),
        (pb.CountActivitiesRequest(page_token="AAAA"), "page_token"),
        (pb.CountActivitiesRequest(group_by=[3, 4]), "group_by"),  # type: ignore[list-item]
        (pb.CountActivitiesRequest(group_by=[3, 3]), "group_by"),  # type: ignore[list-item]
        (pb.ListActivitiesRequest(order_by="user_id"), "order_by"),
        (pb.TailActivitiesRequest(resume_token="é"), "resume_token"),
        (pb.ExportActivitiesRequest(format=9), "format"),  # type: ignore[arg-type]
    ],
)
async def test_a_bad_request_names_its_field(
    activity: ActivityServiceAsyncStub, ours: Identity, request_: object, field: str
) -> None:
    name = type(request_).__name__.removesuffix("Request")
    call = getattr(activity, name)(request_, metadata=ours.metadata())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if hasattr(call, "read") else call)
    assert [named for named, _ in violations(refused.value)] == [field]


@pytest.mark.parametrize("change", ["tamper", "tenant", "filter", "order"])
async def test_a_page_token_is_good_for_its_own_question_only(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity, change: str
) -> None:
    await log.record(activity, ours, log.entries(3))
    first = pb.ListActivitiesRequest(page_size=1)
    page = await activity.ListActivities(first, metadata=ours.metadata())
    token = page.next_page_token
    request = pb.ListActivitiesRequest(page_token=token, page_size=2)
    if change == "tamper":
        request.page_token = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    elif change == "filter":
        request.filter.user_ids.append(log.USERS[0])
    elif change == "order":
        request.order_by = "created_at asc"
    who = theirs if change == "tenant" else ours
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.ListActivities(request, metadata=who.metadata())
    assert violations(refused.value) == [("page_token", "page_token")]


async def test_a_page_of_large_entries_ends_before_it_is_too_large_for_a_message(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    large = f'{{"text": "{"x" * 8_000}"}}'
    entries = [an_entry(activity_id=str(new_id()), metadata_json=large) for _ in range(400)]
    for start in range(0, 400, 100):
        await log.record(activity, ours, entries[start : start + 100])
    request = pb.ListActivitiesRequest(page_size=1_000)
    found, pages = 0, 0
    while not pages or request.page_token:
        page = await activity.ListActivities(request, metadata=ours.metadata())
        assert page.ByteSize() < 1_000_000
        found, pages, request.page_token = (
            found + len(page.activities),
            pages + 1,
            page.next_page_token,
        )
    assert found == 400
    assert pages > 1
