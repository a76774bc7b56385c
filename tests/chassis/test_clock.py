"""Time: ids in the order of time, and moments that survive the wire to the microsecond."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.clock import from_micros, new_id, to_datetime, to_micros, to_timestamp, utc_now

NOON = datetime(2026, 11, 24, 12, 0, 0, 123_456, tzinfo=UTC)


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = new_id()
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_an_id_begins_with_its_milliseconds() -> None:
    assert new_id(NOON).int >> 80 == int(NOON.timestamp() * 1000)


def test_an_id_without_a_moment_is_of_the_present_one() -> None:
    before = utc_now().timestamp() * 1000
    made = new_id().int >> 80
    assert before - 1 <= made <= utc_now().timestamp() * 1000


def test_ids_of_later_moments_sort_later_and_no_two_are_equal() -> None:
    moments = [NOON + timedelta(milliseconds=n) for n in range(50)]
    ids = [new_id(moment) for moment in moments]
    assert ids == sorted(ids)
    assert len({new_id(NOON) for _ in range(1_000)}) == 1_000


def test_all_bits_but_time_version_and_variant_are_drawn() -> None:
    fixed = int(NOON.timestamp() * 1000) << 80 | 0x7 << 76 | 0x2 << 62
    drawn = 0
    for _ in range(200):
        drawn |= new_id(NOON).int ^ fixed
    assert drawn == (0xFFF << 64) | (2**62 - 1)


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_moment_survives_the_wire(moment: datetime) -> None:
    expected = Timestamp()
    expected.FromDatetime(moment)
    sent = to_timestamp(moment)
    assert sent == expected
    assert to_datetime(sent) == moment


def test_a_moment_from_the_wire_is_in_utc_and_none_stays_none() -> None:
    assert to_datetime(Timestamp()).tzinfo is UTC
    assert to_timestamp(None) is None


def test_a_moment_is_told_in_microseconds_without_what_is_smaller() -> None:
    sent = to_timestamp(NOON)
    assert sent is not None
    assert to_micros(sent) == 1_795_521_600_123_456
    assert from_micros(1_795_521_600_123_456) == NOON
    assert to_micros(Timestamp(seconds=7, nanos=5_999)) == 7_000_005


def test_the_present_is_in_utc() -> None:
    assert utc_now().tzinfo is UTC
