"""Filters: an ActivityFilter of the contract, parsed once into the parameters of statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import from_micros, to_micros
from chassis.errors import InvalidArgument
from chassis.validation import parse_time
from services.activity.entries.actions import ACTION_NAMES
from services.activity.entries.batch import parse_json

# The bounds of an open range, in microseconds since 1970: EARLIEST_TIME and LATEST_TIME of sql.py.
EARLIEST_MICROS = -62_135_510_400_000_000
LATEST_MICROS = 253_402_128_000_000_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted; None is any. Microseconds since 1970; `end` is excluded."""

    start: int = EARLIEST_MICROS
    end: int = LATEST_MICROS
    user_ids: list[str] | None = None
    action_types: list[str] | None = None
    target_ids: list[str] | None = None
    metadata: str | None = None

    def values(self) -> tuple[int, int, object, object, object, object]:
        """Return the parameters $2 to $7 of every statement that takes a filter."""
        return (
            self.start,
            self.end,
            self.user_ids,
            self.action_types,
            self.target_ids,
            self.metadata,
        )

    def summary(self) -> dict[str, object]:
        """Describe the filter without users and targets, for the entry that an export leaves."""
        said: dict[str, object] = {}
        if self.start != EARLIEST_MICROS:
            said["start_time"] = _text(self.start)
        if self.end != LATEST_MICROS:
            said["end_time"] = _text(self.end)
        if self.action_types:
            said["action_types"] = self.action_types
        for name, chosen in (("user_count", self.user_ids), ("target_count", self.target_ids)):
            if chosen:
                said[name] = len(chosen)
        if self.metadata:
            said["by_metadata"] = True
        return said


def parse_filter(wanted: pb.ActivityFilter) -> Filter:
    """Parse a filter whose fields keep the contract's rules; refuse bad times and metadata."""
    start, end = EARLIEST_MICROS, LATEST_MICROS
    if wanted.HasField("start_time"):
        start = _bound("filter.start_time", wanted.start_time)
    if wanted.HasField("end_time"):
        end = _bound("filter.end_time", wanted.end_time)
    refuse_empty_range(wanted, "filter.end_time", "filter.end_after_start")
    return Filter(
        start=start,
        end=end,
        user_ids=sorted({each.lower() for each in wanted.user_ids}) or None,
        action_types=sorted({ACTION_NAMES[each] for each in wanted.action_types}) or None,
        target_ids=sorted(set(wanted.target_ids)) or None,
        metadata=_json_object(wanted.metadata_json) if wanted.metadata_json else None,
    )


def refuse_empty_range(
    wanted: pb.ActivityFilter | pb.VerifyLogRequest, field: str, rule: str
) -> None:
    """Refuse a range whose end is not after its start, rather than answer that it is empty."""
    start, end = wanted.start_time, wanted.end_time
    both = wanted.HasField("start_time") and wanted.HasField("end_time")
    if both and (end.seconds, end.nanos) <= (start.seconds, start.nanos):
        raise InvalidArgument.field(field, rule, "must be after start_time")


@contextmanager
def refusing_bad_metadata() -> Iterator[None]:
    """Refuse metadata that only Python takes for JSON, such as a lone surrogate."""
    try:
        yield
    except (asyncpg.DataError, asyncpg.StatementTooComplexError):
        raise not_json() from None


def _bound(field: str, moment: Timestamp) -> int:
    """Return a bound in microseconds, within those of an open range."""
    parse_time(field, moment)
    return min(max(to_micros(moment), EARLIEST_MICROS), LATEST_MICROS)


def _json_object(text: str) -> str:
    try:
        parsed = parse_json(text)
    except (ValueError, RecursionError):
        raise not_json() from None
    if not isinstance(parsed, dict):
        rule = "json.object"
        raise InvalidArgument.field("filter.metadata_json", rule, "must be a JSON object")
    return text


def not_json() -> InvalidArgument:
    """Return the refusal of metadata that are not JSON."""
    return InvalidArgument.field("filter.metadata_json", "json", "must be JSON text")


def _text(micros: int) -> str:
    return from_micros(micros).isoformat()
