"""Encoding rows of the log as the bytes of a response, in which an entry is always field 1.

asyncpg calls `EntryEncoder.encode` with each row as it arrives, so most of a page is encoded while
PostgreSQL makes the rest of it; the times of all rows are added at once at the end. When the last
of 1,000 rows has come, 0.4 ms of encoding are left; it would be 0.9 for all rows at the end, and
2.1 by way of messages. Bytes are put together as str, in which each character stands for a byte
(latin-1): nothing in Python joins a few short texts faster than an f-string does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as pb

from services.activity.entries.actions import ACTION_NUMBERS, ActionNumbers

RESPONSE_BYTES = 900_000  # far below the 4 MB that gRPC takes where nobody says otherwise
_ACTIONS = {name: chr(number) for name, number in ACTION_NUMBERS.items()}
_BEGIN = "\n$"  # an entry begins with the tag of its id, and the length of that


def _length(size: int) -> str:
    """Return a length as a varint: seven bits a byte, lowest first, each marked but the last."""
    return chr(size) if size < 128 else chr(size & 127 | 128) + _length(size >> 7)


_LENGTHS = [_length(size) for size in range(1 << 14)]
_TIMES = 32  # bytes of an entry's two times, unless one is out of the usual range

# PostgreSQL sends a time as microseconds since 2000; one of more bits is encoded as a message.
_SECONDS_TO_2000 = 946_684_800
_BITS = 54
# x // 1_000_000 is x * _RECIPROCAL >> _SHIFT for all x of so many bits.
_SHIFT = _BITS + 20
_RECIPROCAL = -(-(1 << _SHIFT) // 1_000_000)


class EntryEncoder:
    """Has connections return entries encoded; a row is then entry, created_at, recorded_at."""

    def __init__(self, actions: ActionNumbers) -> None:
        self._actions = actions

    async def prepare(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Prepare a new connection; a read with it may raise UnknownActionError."""
        await connection.set_type_codec(
            "entry", schema="activity", encoder=tuple, decoder=self.encode, format="tuple"
        )

    def encode(self, values: tuple[str, ...]) -> str:
        """Return an entry encoded up to its times, which `response_of` adds."""
        activity_id, user_id, action, target, metadata, address, agent = values
        lengths = _LENGTHS
        if not (target.isascii() and metadata.isascii() and agent.isascii()):
            target, metadata, agent = map(_bytewise, (target, metadata, agent))
        try:
            # Each field is its tag ("*" is field 5, "J" is field 9), its length ("$" is 36), and
            # its bytes.
            content = (
                f"{_BEGIN}{activity_id}\x12${user_id}\x18{_ACTIONS[action]}"
                f'"{lengths[len(target)]}{target}*{lengths[len(metadata)]}{metadata}'
                f"B{lengths[len(address)]}{address}J{lengths[len(agent)]}{agent}"
            )
            return f"\n{lengths[len(content) + _TIMES]}{content}"
        except LookupError:
            return _as_message(values, self._actions)


def id_of(entry: str) -> str:
    """Return the id of an encoded entry."""
    start = entry.index(_BEGIN, 1) + len(_BEGIN)
    return entry[start : start + 36]


def response_of(rows: Sequence[asyncpg.Record]) -> tuple[bytes, int]:
    """Return a response with as many rows as fit, but at least one, and how many these are."""
    times = _times(rows)
    if times is None:
        entries = list(map(_with_wide_times, rows))
    else:
        entries = [row[0] + moments for row, moments in zip(rows, times, strict=True)]
    if sum(map(len, entries)) > RESPONSE_BYTES:
        entries = entries[: _fitting(map(len, entries))]
    return "".join(entries).encode("latin-1"), len(entries)


def micros_of(moment: bytes) -> int:
    """Return a time that PostgreSQL sent, in microseconds since 1970."""
    return int.from_bytes(moment, "big", signed=True) + _SECONDS_TO_2000 * 1_000_000


def _fitting(sizes: Iterable[int]) -> int:
    return max(sum(total <= RESPONSE_BYTES for total in accumulate(sizes)), 1)


def _bytewise(text: str) -> str:
    return text.encode().decode("latin-1")


def _as_message(values: tuple[str, ...], actions: ActionNumbers) -> str:
    """Encode an entry whose lengths or whose action type stand in no table."""
    activity_id, user_id, action, target, metadata, address, agent = values
    message = pb.Activity(
        activity_id=activity_id,
        user_id=user_id,
        action_type=actions.of(action),
        target_id=target,
        metadata_json=metadata,
        ip_address=address,
        user_agent=agent,
    )
    content = message.SerializeToString().decode("latin-1")
    return f"\n{_length(len(content) + _TIMES)}{content}"


class _Operands(NamedTuple):
    """Numbers to calculate with on all times of some rows at once.

    All of them are one long integer, in which each time has 16 bytes; so has it in each operand.
    """

    too_wide: int  # the bits that a usual time does not have
    quotient_mask: int  # the bits of the quotient of a division
    seconds_to_2000: int  # the seconds from 1970 to 2000
    septet_masks: tuple[int, ...]  # seven bits of the seconds and of the nanoseconds each
    frames: int  # the tags and lengths of the fields, and the marks of their varints


@cache
def _operands(rows: int) -> _Operands:
    def repeated(*times: bytes) -> int:
        return int.from_bytes(b"".join(times) * (2 * rows // len(times)), "little")

    def for_each(number: int) -> int:
        return repeated(number.to_bytes(16, "little"))

    # A time is a field of 14 bytes: seconds in seven, nanos in five. Their bits go into the first
    # five bytes of each.
    frames = (bytes((tag, 14, 8, *[128] * 6, 0, 16, *[128] * 4, 0)) for tag in (0x32, 0x3A))
    return _Operands(
        too_wide=for_each((1 << 64) - (1 << _BITS)),
        quotient_mask=for_each((1 << _BITS) - 1),
        seconds_to_2000=for_each(_SECONDS_TO_2000),
        septet_masks=tuple(for_each(127 << bit | 127 << bit + 64) for bit in range(0, 35, 7)),
        frames=repeated(*frames),
    )


def _times(rows: Sequence[asyncpg.Record]) -> list[str] | None:
    """Return each row's created_at and recorded_at encoded; None where a time is too wide.

    All are calculated at once, as one long integer: 0.3 ms for 1,000 rows; one by one it is 1.8.
    """
    room = 1 << (len(rows) - 1).bit_length()  # few sizes: each needs operands of its own
    operands = _operands(room)
    created, recorded = (
        int.from_bytes(bytes(24).join([row[column] for row in rows]), "big") for column in (1, 2)
    )
    micros = created | recorded << 128
    if micros & operands.too_wide:
        return None
    seconds = micros * _RECIPROCAL >> _SHIFT & operands.quotient_mask
    nanos = (micros - seconds * 1_000_000) * 1_000
    both = seconds + operands.seconds_to_2000 | nanos << 64
    bits = sum([(both & mask) << shift for shift, mask in enumerate(operands.septet_masks)])
    text = (bits << 24 | operands.frames).to_bytes(32 * room + 3, "little").decode("latin-1")
    # The last row comes first: the integer was read from its highest byte on.
    return [text[start : start + 32] for start in range(32 * (len(rows) - 1), -1, -32)]


def _with_wide_times(row: asyncpg.Record) -> str:
    entry, created, recorded = row
    times = pb.Activity(created_at=_timestamp(created), recorded_at=_timestamp(recorded))
    content = entry[entry.index(_BEGIN, 1) :] + times.SerializeToString().decode("latin-1")
    return f"\n{_length(len(content))}{content}"


def _timestamp(moment: bytes) -> Timestamp:
    seconds, micros = divmod(micros_of(moment), 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1_000)
