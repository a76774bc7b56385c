"""A batch: which entries it takes, with which values, and what it says of those it refuses."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id, to_timestamp
from chassis.errors import FieldViolation, InvalidArgument
from services.activity.entries.batch import Batch, Columns, Window, one_entry, time_of_id

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAYS = timedelta(days=30)
USER = "0B8CA9C5-0000-4000-8000-00000000000A"
TICK = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // TICK


def a_login(**values: Any) -> pb.NewActivity:
    return pb.NewActivity(user_id=USER, action_type=pb.ACTION_TYPE_LOGIN, **values)


def batch(*activities: pb.NewActivity, violations: tuple[FieldViolation, ...] = ()) -> Batch:
    return Batch.of(activities, violations, Window.at(NOW, DAYS))


def at(moment: datetime) -> Batch:
    return batch(a_login(created_at=to_timestamp(moment)))


def rule_of(refused: Batch) -> FieldViolation:
    (violations,) = refused.refused.values()
    (violation,) = violations
    return violation


# -- when an entry may have happened ---------------------------------------------------------------


@pytest.mark.parametrize("moment", [NOW - DAYS, NOW, NOW + timedelta(hours=24)])
def test_an_entry_may_have_happened_from_the_retentions_start_to_a_day_ahead(
    moment: datetime,
) -> None:
    taken = at(moment)
    assert not taken.refused
    assert taken.columns.created_at == [micros(moment)]


def test_an_entry_a_microsecond_later_than_a_day_ahead_is_refused() -> None:
    assert rule_of(at(NOW + timedelta(hours=24) + TICK)) == FieldViolation(
        "created_at", "activity.not_ahead", "must not be more than 24 hours ahead"
    )


def test_an_entry_a_microsecond_older_than_the_retention_is_refused_with_its_day() -> None:
    violation = rule_of(at(NOW - DAYS - TICK))
    assert (violation.field, violation.rule) == ("created_at", "activity.within_retention")
    day = datetime.fromtimestamp((NOW - DAYS).timestamp())  # noqa: DTZ006 -- as the message has it
    assert violation.message == f"must not be older than the log is kept ({day:%Y-%m-%d})"


def test_a_retention_that_starts_at_midnight_is_told_by_the_day_that_begins() -> None:
    midnight = datetime(2026, 11, 24).astimezone()
    violation = Window.at(midnight, timedelta()).fault_of(micros(midnight) - 1)
    assert violation is not None
    assert violation.message.endswith("(2026-11-24)")


@pytest.mark.parametrize("edge", [NOW - DAYS, NOW + timedelta(hours=24)])
def test_the_window_finds_no_fault_with_its_ends(edge: datetime) -> None:
    assert Window.at(NOW, DAYS).fault_of(micros(edge)) is None


def test_the_window_names_the_field_that_it_is_asked_about() -> None:
    violation = Window.at(NOW, DAYS).fault_of(micros(NOW) * 2, "start_time")
    assert violation is not None
    assert violation.field == "start_time"


def test_an_entry_without_a_time_happens_now() -> None:
    assert batch(a_login()).columns.created_at == [micros(NOW)]


def test_an_entry_with_an_id_happened_when_the_id_was_made() -> None:
    moment = NOW - timedelta(hours=1)
    taken = batch(a_login(activity_id=str(new_id(moment))))
    assert taken.columns.created_at == [micros(moment)]


def test_an_id_that_was_made_too_long_ago_is_refused() -> None:
    refused = batch(a_login(activity_id=str(new_id(NOW - 2 * DAYS))))
    assert rule_of(refused).rule == "activity.within_retention"


def test_an_id_that_tells_no_time_needs_one_beside_it() -> None:
    assert rule_of(batch(a_login(activity_id=str(uuid.uuid4())))) == FieldViolation(
        "created_at",
        "activity.created_at_with_id",
        "must be sent with an activity_id that is not of version 7",
    )


def test_the_time_that_is_sent_goes_before_the_one_of_the_id() -> None:
    entry = a_login(activity_id=str(new_id(NOW - DAYS)), created_at=to_timestamp(NOW))
    assert batch(entry).columns.created_at == [micros(NOW)]


def test_a_part_of_a_microsecond_is_cut_off() -> None:
    sent = Timestamp(seconds=int(NOW.timestamp()), nanos=999_999_999)
    assert batch(a_login(created_at=sent)).columns.created_at == [micros(NOW) + 999_999]


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000])
def test_a_time_that_protobuf_does_not_have_is_refused(nanos: int) -> None:
    sent = Timestamp(seconds=int(NOW.timestamp()), nanos=nanos)
    assert rule_of(batch(a_login(created_at=sent))) == FieldViolation(
        "created_at", "timestamp", "must be a valid time"
    )


def test_only_an_id_of_version_7_tells_a_time() -> None:
    assert time_of_id(str(new_id(NOW))) == micros(NOW)
    assert time_of_id(str(uuid.uuid4())) is None


# -- what is stored --------------------------------------------------------------------------------


def test_ids_are_stored_in_lower_case_and_the_rest_as_sent() -> None:
    activity_id = str(new_id(NOW)).upper()
    entry = a_login(
        activity_id=activity_id,
        target_id="Target",
        metadata_json='{"A": 1}',
        created_at=to_timestamp(NOW),
        ip_address="10.0.0.1",
        user_agent="Agent",
    )
    assert batch(entry).columns == Columns(
        [activity_id.lower()], [USER.lower()], ["login"], ["Target"], ['{"A": 1}'],
        [micros(NOW)], ["10.0.0.1"], ["Agent"],
    )  # fmt: skip


def test_an_entry_without_an_id_gets_one_of_its_time_and_without_metadata_an_empty_object() -> None:
    moment = NOW - timedelta(hours=1)
    columns = at(moment).columns
    assert time_of_id(columns.activity_ids[0]) == micros(moment)
    assert columns.metadata == ["{}"]


def test_columns_are_joined_taken_and_counted_by_entry() -> None:
    first, second = at(NOW).columns, at(NOW - TICK).columns
    ids = first.activity_ids + second.activity_ids
    first.extend(second)
    assert len(first) == 2
    assert first.activity_ids == ids
    assert first.take([1]).values() == second.values()


@pytest.mark.parametrize(
    ("action", "metadata", "makes_one"),
    [
        (pb.ACTION_TYPE_ADD_TO_LIST, '{"new_list": true}', True),
        (pb.ACTION_TYPE_ADD_TO_LIST, '{"new_list": 1}', False),
        (pb.ACTION_TYPE_ADD_TO_LIST, "{}", False),
        (pb.ACTION_TYPE_ADD_TO_LIST, '{"new_list": true, "n": ' + "1" * 5_000 + "}", True),
        (pb.ACTION_TYPE_ADD_TO_LIST, '{"a": ' + "[" * 5_000 + "]" * 5_000 + "}", False),
        (pb.ACTION_TYPE_LOGIN, '{"new_list": true}', False),
    ],
)
def test_a_new_list_is_an_entry_that_says_so(action: Any, metadata: str, makes_one: bool) -> None:
    entry = pb.NewActivity(user_id=USER, action_type=action, metadata_json=metadata)
    assert batch(a_login(), entry).columns.new_lists() == ([1] if makes_one else [])


def test_an_entry_of_the_service_itself_has_no_address_and_no_agent() -> None:
    ids = uuid.UUID(int=1), uuid.UUID(int=2)
    assert one_entry(*ids, "login", "target", "{}", NOW + timedelta(microseconds=7)) == Columns(
        [str(ids[0])], [str(ids[1])], ["login"], ["target"], ["{}"], [micros(NOW) + 7], [""], [""]
    )


# -- what is refused -------------------------------------------------------------------------------

LATE = to_timestamp(NOW + timedelta(days=2))
OF_ENTRY = FieldViolation("activities[1].user_id", "string.uuid", "must be a valid UUID")


def test_refused_entries_are_left_out_and_named_by_their_places() -> None:
    taken = batch(a_login(created_at=LATE), a_login(), a_login(), violations=(OF_ENTRY,))
    assert taken.size == 3
    assert list(taken.places) == [2]
    assert {place: [each.field for each in found] for place, found in taken.refused.items()} == {
        0: ["created_at"],
        1: ["user_id"],
    }


def test_a_fault_of_the_call_refuses_all_of_it() -> None:
    of_call = FieldViolation("activities", "repeated.max_items", "must have at most 10,000")
    with pytest.raises(InvalidArgument) as refused:
        batch(a_login(), violations=(OF_ENTRY, of_call))
    assert refused.value.violations == (of_call,)


def test_the_ids_come_in_the_order_sent_with_an_empty_one_for_a_refused_entry() -> None:
    ids = [str(new_id(NOW)) for _ in range(3)]
    entries = [a_login(activity_id=each) for each in ids]
    assert batch(*entries).activity_ids() == ids
    refused = batch(*entries, violations=(OF_ENTRY,))
    assert refused.activity_ids() == [ids[0], "", ids[2]]


def test_entries_that_turn_out_to_be_refused_leave_the_batch_by_their_column() -> None:
    taken = batch(a_login(created_at=LATE), *[a_login() for _ in range(3)])
    ids = taken.activity_ids()
    fault = FieldViolation("activity_id", "activity.id_taken", "was recorded before")
    left = taken.without([(1, fault)])
    assert list(left.places) == [1, 3]
    assert left.activity_ids() == ["", ids[1], "", ids[3]]
    assert sorted(left.refused) == [0, 2]
    assert left.refused[2] == [fault]
    assert left.size == 4


def test_the_refusal_names_every_fault_by_its_path_in_order() -> None:
    of_all = FieldViolation("activities[2]", "rule", "is wrong")
    more = FieldViolation("activities[1].target_id", "string.max_len", "is too long")
    refused = batch(
        a_login(created_at=LATE), a_login(), a_login(), violations=(of_all, OF_ENTRY, more)
    )
    assert [each.field for each in refused.refusal().violations] == [
        "activities[0].created_at",
        "activities[1].user_id",
        "activities[1].target_id",
        "activities[2]",
    ]


def test_a_refused_entry_is_told_with_the_first_rule_that_it_breaks() -> None:
    more = FieldViolation("activities[1].target_id", "string.max_len", "is too long")
    refused = batch(a_login(created_at=LATE), a_login(), violations=(OF_ENTRY, more))
    first, second = refused.refused_entries()
    assert (first.index, first.rule) == (0, "activity.not_ahead")
    assert second == pb.RefusedEntry(
        index=1, field="user_id", rule="string.uuid", message="must be a valid UUID"
    )


@given(
    st.sampled_from([each for each in pb.ActionType.values() if each]),
    st.text(max_size=40)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    ).map(json.dumps),
)
def test_only_an_object_that_says_so_is_of_a_new_list(action: int, metadata: str) -> None:
    entry = pb.NewActivity(user_id=USER, action_type=action, metadata_json=metadata)  # type: ignore[arg-type]
    assert batch(entry).columns.new_lists() in ([], [0])
