"""Messages of the contract as JSON: numbers as numbers, enums by their short names."""

from __future__ import annotations

import json
from typing import Any

import typer
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.clock import to_datetime
from services.cli.terminal.screen import escaped


def print_json(value: Message | dict[str, Any]) -> None:
    """Print one object on one line."""
    fields = fields_of(value) if isinstance(value, Message) else value
    typer.echo(escaped(json.dumps(fields, ensure_ascii=False)))


def fields_of(message: Message) -> dict[str, Any]:
    """Return every field of a message; one that is absent is null."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def enum_name(kind: EnumDescriptor, number: int) -> str:
    """Return an enum's value as people write it: `budget_denied`; unspecified is empty."""
    first, value = kind.values[0].name, kind.values_by_number.get(number)
    prefix = first.removesuffix("UNSPECIFIED")
    return value.name.removeprefix(prefix).lower() if value and number else ""


def enum_names(kind: EnumDescriptor) -> dict[str, int]:
    """Return an enum's numbers by the names that people write."""
    return {enum_name(kind, each.number): each.number for each in kind.values if each.number}


def when(moment: Timestamp) -> str:
    """Return a time in the form that all JSON output has."""
    return f"{to_datetime(moment):%Y-%m-%dT%H:%M:%S.%fZ}"


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(field, each) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return when(value)
    if isinstance(value, Message):
        return fields_of(value)
    return enum_name(field.enum_type, value) if field.enum_type else value
