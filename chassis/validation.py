"""The rules written in the contracts, applied: one function for requests, entries and events."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from chassis.clock import to_datetime
from chassis.errors import FieldViolation, InvalidArgument

_VALIDATOR = Validator()


def violations_of(message: Message) -> list[FieldViolation]:
    """Check `message` against its protovalidate rules; an empty list means that it holds."""
    return [
        FieldViolation(_path(found.proto.field), found.proto.rule_id, found.proto.message)
        for found in _VALIDATOR.collect_violations(message)
    ]


def parse_time(field: str, moment: Timestamp) -> datetime:
    """Return a moment of a request, or refuse one that the calendar does not have."""
    try:
        return to_datetime(moment)
    except (ValueError, OverflowError):
        raise InvalidArgument.field(field, "timestamp", "must be a valid time") from None


def _path(field: object) -> str:
    """Write a FieldPath as `activities[3].user_id`."""
    parts = []
    for element in getattr(field, "elements", ()):
        subscript = getattr(element, "subscript", None)
        place = f"[{subscript.value}]" if subscript is not None else ""
        parts.append(f"{element.field_name}{place}")
    return ".".join(parts)


def storable(field: str, text: str) -> str:
    """Return a text of a request, or refuse one that Postgres cannot hold."""
    if "\0" in text:
        raise InvalidArgument.field(field, "string.no_nul", "must not contain a zero character")
    return text
