"""A filter, parsed: its bounds and values, what is refused, and what it says of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.errors import FieldViolation, InvalidArgument
from services.activity.entries.filters import (
    Filter,
    parse_filter,
    refuse_empty_range,
    refusing_bad_metadata,
)

FIRST, LAST = Filter().start, Filter().end


def parse(**values: Any) -> Filter:
    return parse_filter(pb.ActivityFilter(**values))


def fault(**values: Any) -> FieldViolation:
    with pytest.raises(InvalidArgument) as refused:
        parse(**values)
    (violation,) = refused.value.violations
    return violation


def test_an_empty_filter_narrows_nothing() -> None:
    assert parse() == Filter()
    assert parse().values() == (FIRST, LAST, None, None, None, None)
    assert parse().summary() == {}


def test_the_whole_of_time_is_within_the_calendars_of_python_and_postgres() -> None:
    assert datetime.fromtimestamp(FIRST / 1e6, UTC).year == 1
    assert datetime.fromtimestamp(LAST / 1e6, UTC).year == 9999


@pytest.mark.parametrize(
    ("nanos", "micros"), [(0, 0), (1, 0), (1_000, 1), (1_999, 1), (999_999_999, 999_999)]
)
def test_a_part_of_a_microsecond_is_dropped_as_from_an_entry(nanos: int, micros: int) -> None:
    bound = Timestamp(seconds=7, nanos=nanos)
    assert parse(start_time=bound).start == 7_000_000 + micros
    assert parse(end_time=bound).end == 7_000_000 + micros


def test_a_bound_beyond_the_whole_of_time_is_its_end() -> None:
    assert parse(start_time=Timestamp(seconds=-62_135_596_800)).start == FIRST
    assert parse(end_time=Timestamp(seconds=253_402_300_799)).end == LAST
    assert parse(start_time=Timestamp(seconds=253_402_300_799)).start == LAST
    assert parse(end_time=Timestamp(seconds=-62_135_596_800)).end == FIRST


@pytest.mark.parametrize("name", ["start_time", "end_time"])
@pytest.mark.parametrize("moment", [Timestamp(nanos=-1), Timestamp(seconds=10**15)])
def test_a_bound_that_the_calendar_does_not_have_is_refused(name: str, moment: Timestamp) -> None:
    expected = FieldViolation(f"filter.{name}", "timestamp", "must be a valid time")
    assert fault(**{name: moment}) == expected


@pytest.mark.parametrize("end", [Timestamp(seconds=7, nanos=5), Timestamp(seconds=6, nanos=9)])
def test_a_range_that_holds_no_moment_is_refused(end: Timestamp) -> None:
    assert fault(start_time=Timestamp(seconds=7, nanos=5), end_time=end) == FieldViolation(
        "filter.end_time", "filter.end_after_start", "must be after start_time"
    )


def test_a_range_of_one_nanosecond_or_without_an_end_may_be_asked_about() -> None:
    start, end = Timestamp(seconds=7, nanos=5), Timestamp(seconds=7, nanos=6)
    refuse_empty_range(pb.ActivityFilter(start_time=start, end_time=end), "f", "r")
    refuse_empty_range(pb.ActivityFilter(start_time=start), "f", "r")
    refuse_empty_range(pb.ActivityFilter(end_time=Timestamp(seconds=-7)), "f", "r")


def test_each_value_counts_once_and_an_id_in_lower_case() -> None:
    parsed = parse(
        user_ids=["B", "a", "b"],
        action_types=[pb.ACTION_TYPE_NOTE_ADDED, pb.ACTION_TYPE_LOGIN, pb.ACTION_TYPE_LOGIN],
        target_ids=["T", "S", "T"],
        metadata_json='{"a": 1}',
    )
    assert parsed.values() == (
        FIRST,
        LAST,
        ["a", "b"],
        ["login", "note_added"],
        ["S", "T"],
        '{"a": 1}',
    )


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_metadata_that_are_no_json_are_refused(text: str) -> None:
    expected = FieldViolation("filter.metadata_json", "json", "must be JSON text")
    assert fault(metadata_json=text) == expected


@pytest.mark.parametrize("text", ["[]", "1", "null"])
def test_metadata_that_are_no_object_are_refused(text: str) -> None:
    expected = FieldViolation("filter.metadata_json", "json.object", "must be a JSON object")
    assert fault(metadata_json=text) == expected


@pytest.mark.parametrize("error", [asyncpg.DataError(), asyncpg.StatementTooComplexError()])
def test_metadata_that_are_json_to_python_only_are_refused(error: Exception) -> None:
    with pytest.raises(InvalidArgument) as refused, refusing_bad_metadata():
        raise error
    assert refused.value.violations[0].rule == "json"


def test_a_filter_says_what_was_chosen_and_not_of_whom() -> None:
    start, end = Timestamp(seconds=0, nanos=5_000), Timestamp(seconds=86_400)
    parsed = parse(
        start_time=start,
        end_time=end,
        user_ids=["a", "b"],
        action_types=[pb.ACTION_TYPE_LOGIN],
        target_ids=["T"],
        metadata_json='{"a": 1}',
    )
    assert parsed.summary() == {
        "start_time": "1970-01-01T00:00:00.000005+00:00",
        "end_time": "1970-01-02T00:00:00+00:00",
        "action_types": ["login"],
        "user_count": 2,
        "target_count": 1,
        "by_metadata": True,
    }


@pytest.mark.parametrize("name", ["start_time", "end_time"])
def test_a_filter_with_one_bound_says_that_one(name: str) -> None:
    assert list(parse(**{name: Timestamp(seconds=7)}).summary()) == [name]
