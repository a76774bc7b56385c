"""A rule of a contract is told in words: no caller is shown a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from chassis.validation import violations_of
from devstack.stack import ROOT

CONTRACTS = ROOT / "protos"
EXPRESSION = re.compile(r"[\\^$*]|\[\^|regex|matches\(|this\.")
NO_NUL = "^[^\\x00]*$"
WRONG: dict[int, list[object]] = {
    FieldDescriptor.CPPTYPE_STRING: ["\0", "", "ada @", "x" * 20_000],
    FieldDescriptor.CPPTYPE_INT32: [-1, 2**31 - 1],
    FieldDescriptor.CPPTYPE_INT64: [-1, 2**63 - 1],
    FieldDescriptor.CPPTYPE_ENUM: [0, 99],
}


def messages() -> Iterator[Any]:
    """Yield the messages of the contracts."""
    for path in sorted((CONTRACTS / "prospect").rglob("*.proto")):
        name = path.relative_to(CONTRACTS).with_suffix("").as_posix().replace("/", ".")
        yield from import_module(f"{name}_pb2").DESCRIPTOR.message_types_by_name.values()


EVERY_MESSAGE = pytest.mark.parametrize(
    "kind", [pytest.param(each, id=each.full_name) for each in messages()]
)


def broken(kind: Any) -> Iterator[Any]:
    """Yield messages that break the rules of each field of a message."""
    yield GetMessageClass(kind)()
    for field in kind.fields:
        for value in (
            WRONG.get(field.cpp_type, []) if field.type != FieldDescriptor.TYPE_BYTES else ()
        ):
            message = GetMessageClass(kind)()
            if field.is_repeated:
                getattr(message, field.name).extend([value, value])
            else:
                setattr(message, field.name, value)
            yield message


@EVERY_MESSAGE
def test_what_a_violation_says_holds_no_regular_expression(kind: Any) -> None:
    told = {
        (each.rule, each.message) for message in broken(kind) for each in violations_of(message)
    }
    assert {each for each in told if EXPRESSION.search(each[1]) or not each[1]} == set()


@EVERY_MESSAGE
def test_the_contracts_have_no_pattern_but_that_of_a_text_without_nul(kind: Any) -> None:
    rules = [field.GetOptions().Extensions[validate_pb2.field] for field in kind.fields]
    texts = [text for rule in rules for text in (rule.string, rule.repeated.items.string)]
    assert {each.pattern for each in texts} <= {"", NO_NUL}
