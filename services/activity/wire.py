"""Rows of the log as the bytes of a response, in each of which an entry is field 1.

A page of 1,000 entries is written in 0.8 ms so; as messages that are then written it took 2.1. Text
is put together as str, in which each character stands for a byte (latin-1): nothing in Python joins
a few short pieces faster than an f-string does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as pb

from services.activity.batch import ACTION_NUMBERS

RESPONSE_BYTES = 900_000  # far below the 4 MB that gRPC takes where nobody says otherwise
_ACTIONS = {name: chr(number) for name, number in ACTION_NUMBERS.items()}
# How a length is written: seven bits a byte, the lowest first, all bytes but the last marked.
_LENGTHS = [chr(n) if n < 128 else chr(n & 127 | 128) + chr(n >> 7) for n in range(1 << 14)]

# Postgres sends a time as microseconds since 2000; what needs more bits is written as a message.
_EPOCH = 946_684_800
_BITS = 54
# x // 1_000_000 is x * _RECIPROCAL >> _SHIFT for all x of so many bits.
_SHIFT = _BITS + 20
_RECIPROCAL = -(-(1 << _SHIFT) // 1_000_000)


def written(rows: Sequence[asyncpg.Record]) -> tuple[bytes, int]:
    """Return as many rows as a response can hold, one in any case, and how many these are."""
    entries: list[str] = []
    size = 0
    for entry in _entries(rows):
        size += len(entry)
        if size > RESPONSE_BYTES and entries:
            break
        entries.append(entry)
    return "".join(entries).encode("latin-1"), len(entries)


def micros_of(moment: bytes) -> int:
    """Return a time that Postgres sent in microseconds since 1970."""
    return int.from_bytes(moment, "big", signed=True) + _EPOCH * 1_000_000


def _entries(rows: Sequence[asyncpg.Record]) -> Iterator[str]:
    times = _times(rows)
    if times is None:
        yield from map(_as_message, rows)
        return
    lengths = _LENGTHS
    # Of each field its number and kind ("\n" is 1, "J" is 9), its length ("$" is 36), its bytes.
    for row, moments in zip(rows, times, strict=True):
        activity_id, user_id, action, target, metadata, _, _, address, agent = row
        if not (target.isascii() and metadata.isascii() and agent.isascii()):
            target, metadata, agent = map(_bytewise, (target, metadata, agent))
        try:
            entry = (
                f"\n${activity_id}\x12${user_id}\x18{_ACTIONS[action]}"
                f'"{lengths[len(target)]}{target}*{lengths[len(metadata)]}{metadata}{moments}'
                f"B{lengths[len(address)]}{address}J{lengths[len(agent)]}{agent}"
            )
            yield f"\n{lengths[len(entry)]}{entry}"
        except IndexError:
            yield _as_message(row)


def _bytewise(text: str) -> str:
    return text.encode().decode("latin-1")


class _Lanes(NamedTuple):
    """The other operands of a number in which each time of so many rows has 16 bytes."""

    unusual: int
    quotient: int
    epoch: int
    sevens: tuple[int, ...]
    frame: int


@cache
def _lanes(rows: int) -> _Lanes:
    def repeated(*times: bytes) -> int:
        return int.from_bytes(b"".join(times) * (2 * rows // len(times)), "little")

    def value(number: int) -> int:
        return repeated(number.to_bytes(16, "little"))

    # Field, 14 bytes: seconds in seven, nanos in five; their bits go into the first five of each.
    frames = (bytes((tag, 14, 8, *[128] * 6, 0, 16, *[128] * 4, 0)) for tag in (0x32, 0x3A))
    return _Lanes(
        unusual=value((1 << 64) - (1 << _BITS)),
        quotient=value((1 << _BITS) - 1),
        epoch=value(_EPOCH),
        sevens=tuple(value(127 << bit | 127 << bit + 64) for bit in range(0, 35, 7)),
        frame=repeated(*frames),
    )


def _times(rows: Sequence[asyncpg.Record]) -> list[str] | None:
    """Return each row's created_at and recorded_at as written, None where a time is unusual.

    All are worked out at once, as one long number: 0.3 ms for 1,000 rows, one by one it is 1.8.
    """
    room = 1 << (len(rows) - 1).bit_length()  # so that there are few sizes
    lanes = _lanes(room)
    created, recorded = (
        int.from_bytes(bytes(24).join([row[column] for row in rows]), "big") for column in (5, 6)
    )
    micros = created | recorded << 128
    if micros & lanes.unusual:
        return None
    seconds = micros * _RECIPROCAL >> _SHIFT & lanes.quotient
    nanos = (micros - seconds * 1_000_000) * 1_000
    both = seconds + lanes.epoch | nanos << 64
    bits = sum([(both & seven) << place for place, seven in enumerate(lanes.sevens)])
    text = (bits << 24 | lanes.frame).to_bytes(32 * room + 3, "little").decode("latin-1")
    # The last row is first: it was the end of a number that was read from its highest byte on.
    return [text[start : start + 32] for start in range(32 * (len(rows) - 1), -1, -32)]


def _as_message(row: asyncpg.Record) -> str:
    activity_id, user_id, action, target, metadata, created, recorded, address, agent = row
    entry = pb.Activity(
        activity_id=activity_id,
        user_id=user_id,
        action_type=ACTION_NUMBERS[action],
        target_id=target,
        metadata_json=metadata,
        created_at=_timestamp(created),
        recorded_at=_timestamp(recorded),
        ip_address=address,
        user_agent=agent,
    )
    return pb.ListActivitiesResponse(activities=[entry]).SerializeToString().decode("latin-1")


def _timestamp(moment: bytes) -> Timestamp:
    seconds, micros = divmod(micros_of(moment), 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1_000)
