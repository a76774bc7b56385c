"""Lists that are too long, found in the bytes of a message before it is decoded.

4 MB hold two million empty items, which take 400 MB once they are decoded. To look at no more items
than a list may have takes milliseconds.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from buf.validate import validate_pb2

from chassis.errors import FieldViolation

LARGE = 16 * 1024
"""A message below this size cannot hold so much that it matters."""
MAX_PATHS = 1_000
MAX_OTHER_FIELDS = 1_000
"""Fields of a message that are in no list: unknown ones, or one that is sent again and again."""


class _Field(NamedTuple):
    """A field that may hold much: how many items it may have, 0 for any, and their message type."""

    name: str
    is_list: bool
    max_items: int
    kind: Any


@cache
def _fields_of(kind: Any) -> dict[int, _Field]:
    """Return the lists and the messages within a message type, by their numbers."""
    if kind.full_name == "google.protobuf.FieldMask":
        return {1: _Field("paths", True, MAX_PATHS, None)}
    found = {}
    for field in kind.fields:
        rules = field.GetOptions().Extensions[validate_pb2.field].repeated
        if field.is_repeated or field.message_type:
            found[field.number] = _Field(
                field.name, field.is_repeated, rules.max_items, field.message_type
            )
    return found


def long_list_of(kind: Any, body: bytes) -> FieldViolation | None:
    """Return the list of a message, by its descriptor and bytes, that is too long, however deep.

    What is no message at all is left to the decoder.
    """
    try:
        return _look(kind, body, 0, len(body)) if len(body) > LARGE else None
    except IndexError:
        return None


def _look(kind: Any, body: bytes, at: int, end: int) -> FieldViolation | None:
    fields, counts, others = _fields_of(kind), dict[int, int](), 0
    while at < end:
        tag, at = _varint(body, at)
        start, at = _skip(body, at, tag & 7)
        field = fields.get(tag >> 3)
        if field is None or not field.is_list:
            others += 1
            if others > MAX_OTHER_FIELDS:
                text = f"must have at most {MAX_OTHER_FIELDS} fields beside its lists"
                return FieldViolation(kind.name, "message.fields", text)
        elif field.max_items:
            counts[tag] = counts.get(tag, 0) + 1
            if counts[tag] > field.max_items:
                text = f"must have at most {field.max_items} items"
                return FieldViolation(field.name, "repeated.max_items", text)
        if field is not None and field.kind is not None and at - start > LARGE:
            found = _look(field.kind, body, start, at)
            if found:
                return FieldViolation(f"{field.name}.{found.field}", found.rule, found.message)
    return None


def _skip(body: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """Return where the content of a field begins and ends; IndexError where it has no end."""
    match wire_type:
        case 0:
            return at, _varint(body, at)[1]
        case 1:
            return at, at + 8
        case 2:
            size, start = _varint(body, at)
            return start, start + size
        case 5:
            return at, at + 4
    raise IndexError(wire_type)  # a group: none of our messages has one


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = body[at]
    if value < 0x80:
        return value, at + 1
    value, shift = value & 0x7F, 7
    while shift < 70:
        at += 1
        byte = body[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
        shift += 7
    raise IndexError(at)
