"""Recording: each valid entry once, each refused one named, all or none unless asked otherwise."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

from chassis.clock import new_id, to_timestamp, utc_now

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub
from tests.harness import Database, Identity, detail, violations

HUGE = '{"a": [1e131071' + ", 1e131071" * 800 + "]}"  # 100 MB written out


def an_activity(**fields: object) -> pb.NewActivity:
    """Return a valid entry, changed by `fields`."""
    values = {"user_id": str(uuid.uuid4()), "action_type": pb.ACTION_TYPE_LOGIN} | fields
    return pb.NewActivity(**values)  # type: ignore[arg-type]


async def test_a_batch_is_in_the_log_when_it_is_acknowledged(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = pb.RecordActivitiesRequest(activities=[an_activity() for _ in range(3)])
    response = await activity.RecordActivities(request, metadata=ours.metadata())
    rows = await database.fetch("select activity_id from activity.activity_log")
    assert {str(row["activity_id"]) for row in rows} == set(response.activity_ids)


async def test_a_batch_is_published_as_one_event_with_the_same_ids(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    subscription = await nats.subscribe(f"activity.recorded.{ours.tenant_id}")
    request = pb.RecordActivitiesRequest(activities=[an_activity() for _ in range(3)])
    response = await activity.RecordActivities(request, metadata=ours.metadata())
    message = await subscription.next_msg(timeout=30)
    event = events_pb2.ActivitiesRecorded.FromString(message.data)
    assert list(event.activity_ids) == list(response.activity_ids)


async def test_an_entry_sent_again_is_recorded_once_and_reported_as_duplicate(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = an_activity(activity_id=str(new_id()), created_at=to_timestamp(utc_now()))
    request = pb.RecordActivitiesRequest(activities=[entry])
    await activity.RecordActivities(request, metadata=ours.metadata())
    again = await activity.RecordActivities(request, metadata=ours.metadata())
    assert (again.recorded_count, again.duplicate_count) == (0, 1)


async def test_an_entry_twice_in_a_batch_is_recorded_once(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = an_activity(activity_id=str(new_id()), created_at=to_timestamp(utc_now()))
    request = pb.RecordActivitiesRequest(activities=[entry, entry])
    response = await activity.RecordActivities(request, metadata=ours.metadata())
    assert (response.recorded_count, response.duplicate_count) == (1, 1)


async def test_an_id_reused_with_other_content_is_refused_and_the_first_stands(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    entry = an_activity(activity_id=str(new_id()), created_at=to_timestamp(utc_now()))
    await activity.RecordActivities(
        pb.RecordActivitiesRequest(activities=[entry]), metadata=ours.metadata()
    )
    other = pb.NewActivity()
    other.CopyFrom(entry)
    other.action_type = pb.ACTION_TYPE_NOTE_ADDED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.RecordActivities(
            pb.RecordActivitiesRequest(activities=[other]), metadata=ours.metadata()
        )
    assert violations(refused.value) == [("activities[0].activity_id", "activity.id_taken")]
    rows = await database.fetch("select action_type from activity.activity_log")
    assert [row["action_type"] for row in rows] == ["login"]


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"action_type": 99}, "action_type", "enum.defined_only"),
        ({"action_type": 0}, "action_type", "enum.not_in"),
        ({"user_id": "not-a-uuid"}, "user_id", "string.uuid"),
        ({"user_id": ""}, "user_id", "string.uuid_empty"),
        ({"user_id": str(uuid.UUID(int=0))}, "user_id", "string.not_in"),
        ({"metadata_json": '"' + "x" * 8191 + '"'}, "metadata_json", "string.max_bytes"),
        ({"metadata_json": "{not json"}, "metadata_json", "json"),
        ({"metadata_json": "[1]"}, "metadata_json", "json.object"),
        ({"metadata_json": '{"a": NaN}'}, "metadata_json", "json"),
        ({"metadata_json": '{"a": "\\u0000"}'}, "metadata_json", "json"),
        ({"metadata_json": '{"a": "\\ud800"}'}, "metadata_json", "json"),
        ({"metadata_json": '{"a": 1e999999}'}, "metadata_json", "json"),
        (
            {"metadata_json": '{"a": [1e131071' + ", 1e131071" * 800 + "]}"},
            "metadata_json",
            "json.size",
        ),
        ({"metadata_json": '{"a": [1e-99' + ", 1e-99" * 1000 + "]}"}, "metadata_json", "json.size"),
        ({"target_id": "a\0b"}, "target_id", "string.pattern"),
        ({"metadata_json": "{\0}"}, "metadata_json", "string.pattern"),
        ({"ip_address": "1.2.3"}, "ip_address", "string.ip"),
        (
            {"created_at": to_timestamp(utc_now() + timedelta(days=2))},
            "created_at",
            "activity.not_ahead",
        ),
        (
            {"created_at": to_timestamp(utc_now() - timedelta(days=4000))},
            "created_at",
            "activity.within_retention",
        ),
        ({"activity_id": str(uuid.uuid4())}, "created_at", "activity.created_at_with_id"),
    ],
)
async def test_a_bad_entry_is_named_by_index_field_and_rule(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    fields: dict[str, object],
    field: str,
    rule: str,
) -> None:
    request = pb.RecordActivitiesRequest(activities=[an_activity(), an_activity(**fields)])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.RecordActivities(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations(refused.value) == [(f"activities[1].{field}", rule)]


@pytest.mark.parametrize(
    "metadata",
    [
        '{"a":[1' + ",1" * 4_091 + "]}",
        '{"a":[1e100' + ",1e100" * 150 + "]}",
        '{"a":["1e99999"' + ',"\\"1e99999"' * 600 + "]}",
        '{"a":{"1e99999":' * 100 + "{}" + "}}" * 100,
    ],
)
async def test_metadata_that_can_be_read_again_are_not_refused_beside_what_cannot(
    activity: ActivityServiceAsyncStub, ours: Identity, metadata: str
) -> None:
    too_large = an_activity(metadata_json=HUGE)
    request = pb.RecordActivitiesRequest(
        activities=[too_large, an_activity(metadata_json=metadata)], partial_success=True
    )
    response = await activity.RecordActivities(request, metadata=ours.metadata())
    assert response.recorded_count == 1
    assert [(r.index, r.rule) for r in response.refused_entries] == [(0, "json.size")]


@pytest.mark.parametrize("metadata", [HUGE, '"' + '\\"' * 4_000])
async def test_many_entries_that_would_take_long_to_look_at_are_refused_soon(
    activity: ActivityServiceAsyncStub, ours: Identity, metadata: str
) -> None:
    bad = an_activity(metadata_json=metadata)
    request = pb.RecordActivitiesRequest(activities=[bad] * 300, partial_success=True)
    response = await activity.RecordActivities(request, metadata=ours.metadata(), timeout=10)
    assert len(response.refused_entries) == 300


async def test_one_bad_entry_leaves_nothing_recorded_by_default(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = pb.RecordActivitiesRequest(activities=[an_activity(), an_activity(user_id="x")])
    with pytest.raises(grpc.aio.AioRpcError):
        await activity.RecordActivities(request, metadata=ours.metadata())
    assert not await database.fetch("select 1 from activity.activity_log")


async def test_partial_success_records_the_valid_entries_and_names_the_others(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = pb.RecordActivitiesRequest(
        activities=[an_activity(), an_activity(user_id="x"), an_activity()], partial_success=True
    )
    response = await activity.RecordActivities(request, metadata=ours.metadata())
    assert response.recorded_count == 2
    assert [(r.index, r.field, r.rule) for r in response.refused_entries] == [
        (1, "user_id", "string.uuid")
    ]
    assert len(await database.fetch("select 1 from activity.activity_log")) == 2


async def test_an_empty_batch_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.RecordActivities(pb.RecordActivitiesRequest(), metadata=ours.metadata())
    assert violations(refused.value) == [("activities", "repeated.min_items")]


async def test_a_batch_has_up_to_10_000_entries(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = pb.RecordActivitiesRequest(activities=[an_activity()] * 10_000)
    response = await activity.RecordActivities(request, metadata=ours.metadata())
    assert response.recorded_count == 10_000
    request.activities.append(an_activity())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.RecordActivities(request, metadata=ours.metadata())
    assert violations(refused.value) == [("activities", "repeated.max_items")]
    (row,) = await database.fetch("select count(*) from activity.activity_log")
    assert row["count"] == 10_000


async def test_a_late_entry_inside_retention_goes_to_its_own_month(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    late = utc_now() - timedelta(days=200)
    request = pb.RecordActivitiesRequest(activities=[an_activity(created_at=to_timestamp(late))])
    await activity.RecordActivities(request, metadata=ours.metadata())
    rows = await database.fetch("select tableoid::regclass::text as t from activity.activity_log")
    assert rows[0]["t"] == f"activity.activity_log_{late:%Y_%m}"


REFUSED: dict[str, dict[str, object]] = {
    "nil user": {"user_id": str(uuid.UUID(int=0))},
    "too old": {"created_at": Timestamp(seconds=10**9)},
    "unknown action": {"action_type": 99},
    "NUL": {"target_id": "\0"},
    "number too long": {"metadata_json": '{"a": 1e-16383}'},
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=list(REFUSED))
async def test_a_refusal_of_many_entries_arrives_with_its_details(
    activity: ActivityServiceAsyncStub, ours: Identity, fields: dict[str, object]
) -> None:
    request = pb.RecordActivitiesRequest(activities=[an_activity(**fields)] * 100)
    for _ in range(5):  # gRPC's client refuses some of the statuses that are too large for it
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await activity.RecordActivities(request, metadata=ours.metadata())
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert violations(refused.value)[0][0].startswith("activities[0]")
        omitted = detail(refused.value, ErrorInfo).metadata["omitted_violations"]
        assert len(violations(refused.value)) + int(omitted) >= 100


BROKEN_METADATA = [
    "1", "-0.5", "[]", "[{}]", "null", "true", '"new_list"', "{", "}", "{}{}", '{"new_list"}',
    '{"new_list": tru', '{"new_list": true,}', "{new_list: true}", '{"a": NaN}', '{"a": "\\ud800"}',
    '{"a": "\\u0000"}', "nul", " ", "[" * 5_000, '{"a":' * 1_500, '{"a": 1e131073}', "'", "\x7f",
]  # fmt: skip
ACTIONS = [each for each in pb.ActionType.values() if each]


async def test_metadata_that_are_no_object_refuse_their_entry_alone_whatever_the_action(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entries = [
        an_activity(action_type=action, metadata_json=metadata)
        for action in ACTIONS
        for broken in BROKEN_METADATA
        for metadata in ('{"new_list": true}', broken)
    ]
    request = pb.RecordActivitiesRequest(activities=entries, partial_success=True)
    answer = await activity.RecordActivities(request, metadata=ours.metadata())
    assert [each.index for each in answer.refused_entries] == list(range(1, len(entries), 2))
    assert {each.field for each in answer.refused_entries} == {"metadata_json"}
    assert answer.recorded_count == len(entries) // 2


@pytest.mark.parametrize("broken", ["1", "[]", "null", "{"])
async def test_an_entry_with_broken_metadata_is_refused_beside_those_of_other_callers(
    activity: ActivityServiceAsyncStub, ours: Identity, broken: str
) -> None:
    async def record(metadata: str) -> str:
        entry = an_activity(action_type=pb.ACTION_TYPE_ADD_TO_LIST, metadata_json=metadata)
        try:
            await activity.RecordActivity(
                pb.RecordActivityRequest(activity=entry), metadata=ours.metadata()
            )
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {violations(error)[0][0]}"
        return "OK"

    answers = await asyncio.gather(*map(record, ["{}", broken, '{"new_list": true}', broken, ""]))
    refused = "INVALID_ARGUMENT activity.metadata_json"
    assert answers == ["OK", refused, "OK", refused, "OK"]


async def test_an_answer_names_ten_thousand_refused_entries(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    request = pb.RecordActivitiesRequest(
        activities=[an_activity(created_at=Timestamp(seconds=10**9))] * 10_000,
        partial_success=True,
    )
    answer = await activity.RecordActivities(request, metadata=ours.metadata())
    assert [each.index for each in answer.refused_entries] == list(range(10_000))
