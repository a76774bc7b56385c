"""The rules written in the contracts, applied: one function for requests, entries and events.

A list that is longer than its contract allows is refused by its length alone, before any of its
items is looked at: 4 MB hold two million empty items, and to name what is wrong with each took
minutes and gigabytes.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from buf.validate import validate_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from chassis.clock import to_datetime
from chassis.errors import FieldViolation, InvalidArgument

_VALIDATOR = Validator()


def violations_of(message: Message) -> list[FieldViolation]:
    """Check `message` against its protovalidate rules; an empty list means that it keeps them."""
    too_long = _lists_too_long(message)
    if too_long:
        return too_long
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


class _List(NamedTuple):
    """A repeated field that has a limit, or whose items have lists with one."""

    name: str
    max_items: int
    of_items: tuple[_List, ...]


@cache
def _lists_of(kind: Any) -> tuple[_List, ...]:
    """Return the lists of a message type, by its descriptor."""
    lists = []
    for field in kind.fields:
        if field.is_repeated:
            rules = field.GetOptions().Extensions[validate_pb2.field].repeated
            inner = _lists_of(field.message_type) if field.message_type else ()
            if rules.max_items or inner:
                lists.append(_List(field.name, rules.max_items, inner))
    return tuple(lists)


def _lists_too_long(message: Any) -> list[FieldViolation]:
    """Return the first list of `message`, or of an item of its lists, that is too long."""
    for each in _lists_of(message.DESCRIPTOR):
        items = getattr(message, each.name)
        if 0 < each.max_items < len(items):
            text = f"must have at most {each.max_items} items"
            return [FieldViolation(each.name, "repeated.max_items", text)]
        for place, item in enumerate(items) if each.of_items else ():
            for found in _lists_too_long(item):
                path = f"{each.name}[{place}].{found.field}"
                return [FieldViolation(path, found.rule, found.message)]
    return []


def _path(field: object) -> str:
    """Write a FieldPath as `activities[3].user_id`."""
    parts = []
    for element in getattr(field, "elements", ()):
        subscript = getattr(element, "subscript", None)
        place = f"[{subscript.value}]" if subscript is not None else ""
        parts.append(f"{element.field_name}{place}")
    return ".".join(parts)
