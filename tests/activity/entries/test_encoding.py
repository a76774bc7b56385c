"""The bytes of entries: what they say is what messages would, whatever the entries hold."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prospect.activity.v1 import activity_service_pb2 as pb

from services.activity.entries import encoding
from services.activity.entries.actions import ACTION_NUMBERS, ActionNumbers
from services.activity.entries.encoding import EntryEncoder, id_of, micros_of, response_of

SECOND = 1_000_000
# Microseconds since 2000, as Postgres counts: the first and the last second of its calendar's years
# 1 and 9999, 1970, and where the times begin and end that are not written as messages.
YEAR_1, YEAR_9999, IN_1970 = (
    -63_082_281_600 * SECOND,
    252_455_615_999 * SECOND,
    -946_684_800 * SECOND,
)
USUAL, UNUSUAL = 820_000_000 * SECOND + 123_456, 1 << 54
ENCODER = EntryEncoder(ActionNumbers())
Row = tuple[str, str, str, str, str, bytes, bytes, str, str]


def a_row(
    created: int = USUAL,
    recorded: int = USUAL,
    activity_id: str = str(uuid.UUID(int=1)),
    action: str = "login",
    target: str = "",
    metadata: str = "{}",
    address: str = "",
    agent: str = "",
) -> Row:
    """Return a row as the statements select it."""
    user_id = str(uuid.UUID(int=2))
    happened, taken_in = (each.to_bytes(8, "big", signed=True) for each in (created, recorded))
    return activity_id, user_id, action, target, metadata, happened, taken_in, address, agent


def as_messages(rows: Iterable[Row]) -> pb.ListActivitiesResponse:
    """Make the same response field by field."""
    response = pb.ListActivitiesResponse()
    for activity_id, user_id, action, target, metadata, created, recorded, address, agent in rows:
        message = response.activities.add(
            activity_id=activity_id,
            user_id=user_id,
            action_type=ACTION_NUMBERS[action],
            target_id=target,
            metadata_json=metadata,
            ip_address=address,
            user_agent=agent,
        )
        for moment, sent in ((message.created_at, created), (message.recorded_at, recorded)):
            micros = int.from_bytes(sent, "big", signed=True)
            moment.seconds, moment.nanos = micros // SECOND + 946_684_800, micros % SECOND * 1_000
    return response


def as_written(rows: Iterable[Row]) -> bytes:
    """Write rows that fit into one response."""
    given_rows = list(rows)
    content, fits = response_of(records(given_rows))
    assert fits == len(given_rows)
    return content


def records(rows: list[Row]) -> list[asyncpg.Record]:
    """Pass tuples for rows as the pool decodes them: only Postgres makes real ones."""
    decoded: Any = [(ENCODER.encode((*row[:5], *row[7:])), *row[5:7]) for row in rows]
    return decoded  # type: ignore[no-any-return]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=600)
long_texts = st.builds(lambda text, n: text * n, texts.filter(bool), st.integers(1, 2_000)).map(
    lambda text: text[: 16_384 // 4]
)
micros = st.one_of(
    st.integers(USUAL - 10**12, USUAL + 10**12),
    st.integers(YEAR_1, YEAR_9999),
    st.sampled_from([0, -1, IN_1970, IN_1970 - 1, UNUSUAL - 1, UNUSUAL]),
)
entries = st.builds(
    a_row,
    created=micros,
    recorded=micros,
    activity_id=st.uuids().map(str),
    action=st.sampled_from(sorted(ACTION_NUMBERS)),
    target=texts,
    metadata=st.one_of(texts, long_texts),
    address=st.one_of(st.just(""), st.ip_addresses().map(str)),
    agent=texts,
)


@given(st.lists(entries, max_size=8))
@example([a_row(metadata="x" * size) for size in (127, 128, 16_200, 16_384, 30_000)])
@example([a_row(created=seconds * SECOND + SECOND - 1) for seconds in range(0, 1 << 34, 1 << 26)])
@example([a_row(created=seconds * SECOND) for seconds in range(0, 1 << 34, 1 << 26)])
@example([a_row(target="ÿ", agent="é" * 64), a_row(target="🦆", metadata='{"ü": "€"}')])
def test_the_bytes_say_what_messages_would(rows: list[Row]) -> None:
    expected = as_messages(rows)
    read = pb.ListActivitiesResponse.FromString(as_written(rows))
    assert read == expected
    assert read.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@given(st.lists(st.integers(0, UNUSUAL - 1), min_size=1, max_size=1_000))
def test_every_time_of_a_page_is_exact(moments: list[int]) -> None:
    rows = [a_row(created=each, recorded=moments[-1 - n]) for n, each in enumerate(moments)]
    assert pb.ListActivitiesResponse.FromString(as_written(rows)) == as_messages(rows)


def test_a_usual_page_is_written_without_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("_as_message", "_with_wide_times"):
        monkeypatch.delattr(encoding, each)
    rows = [
        a_row(target=f"ä{n}", metadata="x" * (n % 600), recorded=USUAL + n) for n in range(1_000)
    ]
    assert len(pb.ListActivitiesResponse.FromString(as_written(rows)).activities) == 1_000


def test_an_entry_is_the_same_field_of_every_response_that_has_one() -> None:
    rows = [a_row(address="2001:db8::1")]
    message = as_messages(rows).activities[0]
    content = as_written(rows)
    assert pb.GetActivityResponse.FromString(content).activity == message
    assert pb.TailActivitiesResponse.FromString(content).activities == [message]


@given(entries)
@example(a_row(metadata="x" * 1_200))  # its length is written with the byte that begins an entry
def test_the_id_of_an_entry_is_found_in_its_bytes(row: Row) -> None:
    ((preserialized, *_),) = records([row])
    assert id_of(preserialized) == row[0]


def test_a_response_ends_before_it_is_too_large() -> None:
    rows = [a_row(metadata="€" * 5_000) for _ in range(300)]
    content, fits = response_of(records(rows))
    assert len(content) <= encoding.RESPONSE_BYTES < len(content) * (fits + 1) / fits
    assert pb.ListActivitiesResponse.FromString(content) == as_messages(rows[:fits])


def test_an_entry_that_is_too_large_by_itself_is_alone() -> None:
    rows = [a_row(metadata="x" * encoding.RESPONSE_BYTES), a_row()]
    content, fits = response_of(records(rows))
    assert fits == 1
    assert pb.ListActivitiesResponse.FromString(content) == as_messages(rows[:1])


@given(micros)
def test_microseconds_count_from_1970(moment: int) -> None:
    assert micros_of(moment.to_bytes(8, "big", signed=True)) == moment - IN_1970
