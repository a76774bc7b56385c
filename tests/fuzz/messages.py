"""Messages made from the contracts' descriptors: valid, at a boundary, broken, and raw bytes."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.clock import utc_now
from tests.invariants.rpcs import NEEDED

MAX_DEPTH = 4
TEXTS = (
    "",
    " ",
    "a",
    "0",
    "null",
    "[]",
    "{",
    '{"a": 1}',
    '{"a": 1e999}',
    "\x00",
    "\x1b[31m",
    "\u202eevil",
    "ﬁ Å Å",
    "😀" * 300,
    "x" * 70_000,
    "'; drop table x; --",
    "%s%n{}",
    "../../etc/passwd",
    "https://www.linkedin.com/in/ada%20l/?x=1#y",
    "ada@engines.example",
    "2026-02-30",
    "9999-12-31",
    "0001-01-01",
    "-1",
    "Europe/Paris",
    "../Paris",
    "exa",
    "cHJvc3BlY3Q=",
)
INTEGERS = (
    0,
    1,
    -1,
    7,
    100,
    10_000,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
)
NUMBERS = (0.0, -0.0, 1.5, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 5e-324)
SECONDS = (0, -1, 1, -62_135_596_800, -62_135_596_801, 253_402_300_799, 253_402_300_800, 2**62)
NANOS = (0, 1, 999, 999_999_999, 1_000_000_000, -1, -(2**31))
RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Generator:
    """Draws messages by a seed; it learns the ids and tokens that earlier answers held.

    Without `unknown_values` no enum has a value that this version does not know.
    """

    def __init__(self, seed: str, *, unknown_values: bool = True) -> None:
        self._random = random.Random(seed)
        self._unknown_values = unknown_values
        self._seen: dict[str, list[str]] = {}

    def request(self, method: MethodDescriptor) -> bytes:
        """Draw a request of an RPC."""
        return self.body(GetMessageClass(method.input_type), NEEDED.get(method.name, {}))

    def body(self, kind: type[Message], valid: Mapping[str, Any]) -> bytes:
        """Draw a message as it travels, beginning from values that are valid."""
        draw = self._random.random()
        if draw < 0.1:
            return self._raw()
        message = kind(**valid)
        if draw < 0.6:
            for _ in range(self._random.choice((0, 1, 1, 2))):
                self._change(message)
        else:
            self._fill(message, 0)
        body = message.SerializeToString()
        return self._damaged(body) if draw > 0.95 else body

    def chosen(self, values: Any) -> Any:
        """Draw one of some values."""
        return self._random.choice(values)

    def learn(self, message: Message) -> None:
        """Keep the ids and tokens of an answer, for later requests to name."""
        for field, value in message.ListFields():
            for each in value if field.is_repeated else [value]:
                if isinstance(each, Message):
                    self.learn(each)
                elif isinstance(each, str) and field.name.endswith(("_id", "token", "_date")):
                    seen = self._seen.setdefault(field.name.removeprefix("next_"), [])
                    seen[:] = [*seen[-20:], each]

    def _raw(self) -> bytes:
        size = self._random.choice((0, 1, 10, 1_000, 100_000))
        if self._random.random() < 0.5:
            return self._random.randbytes(size)
        # A group in a group, and so on, and a length that the body does not have.
        return self._random.choice((b"\x0b", b"\x0a\xff\xff\xff\xff\x07", b"\x0a\x00")) * size

    def _damaged(self, body: bytes) -> bytes:
        at = self._random.randrange(len(body) + 1)
        return body[:at] + self._random.choice((b"", b"\xff", b"\x00" * 9, body)) + body[at + 1 :]

    def _change(self, message: Message) -> None:
        """Set one field, somewhere in a message, to any value."""
        field = self._random.choice(message.DESCRIPTOR.fields or [None])
        if field is None:
            return
        inner = getattr(message, field.name)
        if isinstance(inner, Message) and self._random.random() < 0.5:
            self._change(inner)
        elif field.is_repeated and inner and field.message_type and not _is_map(field):
            self._change(self._random.choice(inner))
        else:
            self._set(message, field, 1)

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self._random.random() < 0.6:
                self._set(message, field, depth)

    def _set(self, message: Message, field: Any, depth: int) -> None:
        message.ClearField(field.name)
        if not field.is_repeated:
            self._set_one(message, field, depth)
            return
        count = self._random.choice((0, 1, 2, 3, 101) if depth < 2 else (0, 1, 2))
        values = getattr(message, field.name)
        for _ in range(count):
            if _is_map(field):
                values[self._scalar(field.message_type.fields_by_name["key"])] = self._scalar(
                    field.message_type.fields_by_name["value"]
                )
            elif field.message_type:
                self._message(values.add(), depth + 1)
            else:
                values.append(self._scalar(field))

    def _set_one(self, message: Message, field: Any, depth: int) -> None:
        if field.message_type:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self._message(inner, depth + 1)
        else:
            setattr(message, field.name, self._scalar(field))

    def _message(self, message: Message, depth: int) -> None:
        match message.DESCRIPTOR.full_name:
            case "google.protobuf.Timestamp" | "google.protobuf.Duration":
                now = int(utc_now().timestamp())
                message.seconds = self._random.choice((*SECONDS, now, now, now - 86_400))  # type: ignore[attr-defined]
                message.nanos = self._random.choice(NANOS)  # type: ignore[attr-defined]
            case "google.protobuf.FieldMask":
                message.paths.extend(self._random.choices(TEXTS[:9], k=2))  # type: ignore[attr-defined]
            case _ if depth <= MAX_DEPTH:
                self._fill(message, depth)

    def _scalar(self, field: Any) -> Any:
        makers: dict[int, Callable[[], Any]] = {
            FieldDescriptor.CPPTYPE_BOOL: lambda: self._random.random() < 0.5,
            FieldDescriptor.CPPTYPE_ENUM: lambda: self._enum(field),
            FieldDescriptor.CPPTYPE_DOUBLE: lambda: self._random.choice(NUMBERS),
            FieldDescriptor.CPPTYPE_FLOAT: lambda: self._random.choice(NUMBERS[:3]),
            FieldDescriptor.CPPTYPE_STRING: lambda: self._text(field),
        }
        if make := makers.get(field.cpp_type):
            return make()
        low, high = RANGES[field.cpp_type]
        return self._random.choice([each for each in INTEGERS if low <= each <= high])

    def _enum(self, field: Any) -> int:
        known = [value.number for value in field.enum_type.values]
        unknown = [999, -1] if self._unknown_values else []
        return int(self._random.choice([*known, *known, *unknown]))

    def _text(self, field: Any) -> Any:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._random.randbytes(self._random.choice((0, 1, 32, 5_000)))
        draw = self._random.random()
        if seen := self._seen.get(field.name):
            if draw < 0.3:
                return self._random.choice(seen)
            if draw < 0.4:
                known = self._random.choice(seen)
                at = self._random.randrange(len(known) + 1)
                return known[:at] + self._random.choice(("", "A", "=", "é")) + known[at + 1 :]
        if draw < 0.6 and field.name.rstrip("s").endswith("_id"):
            return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        if draw < 0.6 and field.name.endswith("date"):
            return utc_now().date().isoformat()
        return self._random.choice(TEXTS)


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)
