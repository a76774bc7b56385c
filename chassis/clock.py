"""Time and time-ordered ids: the one place that reads the clock."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present moment, aware and in UTC."""
    return datetime.now(UTC)


def new_id(moment: datetime | None = None) -> uuid.UUID:
    """Return a UUIDv7 (RFC 9562, 5.7) of `moment`: 48 bits of milliseconds, then random."""
    milliseconds = int((moment or utc_now()).timestamp() * 1000)
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    return uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62))


def to_datetime(moment: Timestamp) -> datetime:
    """Return a protobuf time as an aware datetime, to the microsecond; ValueError out of range."""
    return moment.ToDatetime(tzinfo=UTC)


def to_micros(moment: Timestamp) -> int:
    """Return a protobuf time in microseconds since 1970: what is smaller is dropped, everywhere."""
    return moment.seconds * 1_000_000 + moment.nanos // 1_000


def from_micros(micros: int) -> datetime:
    """Return a moment in microseconds since 1970 as an aware datetime, exactly."""
    return _EPOCH + micros * _MICROSECOND


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment as a protobuf time; None stays None."""
    if moment is None:
        return None
    # Takes less than half of what Timestamp.FromDatetime does, which goes by the calendar.
    seconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return Timestamp(seconds=seconds, nanos=microseconds * 1000)
