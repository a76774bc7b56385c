"""The rules written in the contracts, applied: one function for requests, entries and events.

A list that is longer than its contract allows is refused by its length alone, before any of its
items is looked at: 4 MB hold two million empty items, and to name what is wrong with each took
minutes and gigabytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
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
# The contracts have one pattern, that of a text without NUL: as `cel`, with words in the contract,
# it would take an entry of the log 3.5 us instead of 0.8. Other rules have their words there.
_WORDS = {"string.pattern": "must not contain the character NUL"}
# An invalid item takes some 25 us: about as long as a page.
CHECKED_AT_ONCE = 200
MAX_FOUND = 1_000


def violations_of(message: Message) -> list[FieldViolation]:
    """Check `message` against its protovalidate rules; an empty list means that it keeps them.

    A list that is too long is emptied in `message`, so that its items cost nothing; all else is
    checked, so that a batch can refuse one item and take the others.
    """
    too_long = _empty_long_lists(message)
    known = {each.field for each in too_long}
    return too_long + [each for each in _check(message) if each.field not in known]


async def violations_of_batch(
    message: Message, items: str, *, first_only: bool
) -> list[FieldViolation]:
    """Check a message whose list `items` may have thousands, of which each may be wrong.

    One look tells whether all is well. Else item after item is looked at, and other calls have
    their turns between: with `first_only` for the first rule that each breaks, else for all of
    them. Raises InvalidArgument where those are more than anybody reads.
    """
    found = _empty_long_lists(message)
    if not found and not _VALIDATOR.collect_violations(message, fail_fast=True):
        return []
    entries = getattr(message, items)
    rest = type(message)()
    rest.CopyFrom(message)
    rest.ClearField(items)
    known = {each.field for each in found} | ({items} if entries else set())
    found += [each for each in _check(rest) if each.field not in known]
    for index, entry in enumerate(entries):
        if index % CHECKED_AT_ONCE == 0:
            await asyncio.sleep(0)
        found += _inside(f"{items}[{index}]", _check(entry, first_only=first_only))
        if len(found) >= MAX_FOUND and not first_only:
            raise InvalidArgument.of(found)
    return found


def first_violation_of(message: Message) -> FieldViolation | None:
    """Return one rule that a message breaks, None where it keeps them all."""
    found = _empty_long_lists(message) or _check(message, first_only=True)
    return found[0] if found else None


def misspelt_enum_of(kind: Any, value: object) -> FieldViolation | None:
    """Return the field of a message in JSON, as `json` reads it, that names no value of its enum.

    Where fields that are not known are ignored, protobuf's parser ignores such a name as well, and
    the field would be taken as unset. Numbers it takes, for `enum.defined_only` to judge.
    """
    for path, enum, given in _enums_in(kind, value):
        if isinstance(given, str) and given not in enum.values_by_name and not _is_number(given):
            text = f"must be the name or the number of a value of {enum.name}"
            return FieldViolation(path, "enum.defined_only", text)
    return None


def _enums_in(kind: Any, value: object, path: str = "") -> Iterator[tuple[str, Any, object]]:
    """Yield the path, the enum and the value of each enum field of a message in JSON."""
    fields = {name: each for each in kind.fields for name in (each.name, each.json_name)}
    for name, given in value.items() if isinstance(value, dict) else ():
        field = fields.get(name)
        if field is None or not (field.enum_type or field.message_type):
            continue
        is_list = isinstance(given, list)
        for index, item in enumerate(given if is_list else [given]):
            where = f"{path}{field.name}{f'[{index}]' if is_list else ''}"
            if field.enum_type:
                yield where, field.enum_type, item
            else:
                yield from _enums_in(field.message_type, item, f"{where}.")


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _check(message: Message, *, first_only: bool = False) -> list[FieldViolation]:
    found = _VALIDATOR.collect_violations(message, fail_fast=first_only)
    return [_in_words(each.proto) for each in found]


def parse_time(field: str, moment: Timestamp) -> datetime:
    """Return a moment of a request, or refuse one that the calendar does not have."""
    try:
        return to_datetime(moment)
    except (ValueError, OverflowError):
        raise InvalidArgument.field(field, "timestamp", "must be a valid time") from None


def _in_words(found: Any) -> FieldViolation:
    words = _WORDS.get(found.rule_id, found.message)
    return FieldViolation(_path(found.field), found.rule_id, words)


class _Part(NamedTuple):
    """A field that is a list with a limit, or that holds messages with such lists."""

    name: str
    is_list: bool
    max_items: int
    inner: tuple[_Part, ...]


@cache
def _parts_of(kind: Any) -> tuple[_Part, ...]:
    """Return the fields of a message type, by its descriptor, that have or hold limited lists."""
    parts = []
    for field in kind.fields:
        rules = field.GetOptions().Extensions[validate_pb2.field].repeated
        ours = field.message_type and field.message_type.full_name.startswith("prospect.")
        inner = _parts_of(field.message_type) if ours else ()
        if rules.max_items or inner:
            parts.append(_Part(field.name, field.is_repeated, rules.max_items, inner))
    return tuple(parts)


def _empty_long_lists(message: Any) -> list[FieldViolation]:
    """Empty each list of `message`, however deep, that is too long; return what they break."""
    found = []
    for part in _parts_of(message.DESCRIPTOR):
        if part.is_list:
            items = getattr(message, part.name)
            if 0 < part.max_items < len(items):
                text = f"must have at most {part.max_items} items"
                found.append(FieldViolation(part.name, "repeated.max_items", text))
                message.ClearField(part.name)
            elif part.inner:
                for index, item in enumerate(items):
                    found += _inside(f"{part.name}[{index}]", _empty_long_lists(item))
        elif message.HasField(part.name):
            found += _inside(part.name, _empty_long_lists(getattr(message, part.name)))
    return found


def _inside(path: str, found: list[FieldViolation]) -> list[FieldViolation]:
    return [replace(each, field=f"{path}.{each.field}") for each in found]


def _path(field: object) -> str:
    """Write a FieldPath as `activities[3].user_id`."""
    parts = []
    for element in getattr(field, "elements", ()):
        subscript = getattr(element, "subscript", None)
        index = f"[{subscript.value}]" if subscript is not None else ""
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts)
