"""Tokens: good for the question they came from, and for no other."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from chassis.errors import InvalidArgument
from chassis.tokens import Tokens

TENANT = uuid.UUID(int=7)
ASKED = StringValue(value="runs that failed")
TOKEN = Tokens("list", TENANT, ASKED, 1).issue(b"place")


def test_a_token_gives_its_position_back() -> None:
    assert Tokens("list", TENANT, ASKED, 1).read("page_token", TOKEN, bytes) == b"place"


@pytest.mark.parametrize(
    "other",
    [
        Tokens("tail", TENANT, ASKED, 1),
        Tokens("list", uuid.UUID(int=8), ASKED, 1),
        Tokens("list", TENANT, StringValue(), 1),
        Tokens("list", TENANT, ASKED, 2),
    ],
    ids=["kind", "tenant", "question", "order"],
)
def test_a_token_of_another_question_is_refused(other: Tokens) -> None:
    with pytest.raises(InvalidArgument) as refused:
        other.read("page_token", TOKEN, bytes)
    assert [each.field for each in refused.value.violations] == ["page_token"]


@pytest.mark.parametrize("token", ["", "x", "tampered", TOKEN[:-2], TOKEN + "=", "A" + TOKEN[1:]])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        Tokens("list", TENANT, ASKED, 1).read("page_token", token, bytes)


@pytest.mark.parametrize("parse", [json.loads, struct.Struct(">q").unpack])
def test_a_token_with_a_position_of_another_kind_is_refused(
    parse: Callable[[bytes], object],
) -> None:
    with pytest.raises(InvalidArgument):
        Tokens("list", TENANT, ASKED, 1).read("page_token", TOKEN, parse)
