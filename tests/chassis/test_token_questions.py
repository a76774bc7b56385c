"""A token belongs to what was asked, however the question was put together."""

from __future__ import annotations

import uuid

from google.protobuf.struct_pb2 import Struct

from chassis.tokens import ContinuationTokens

KEYS = (b"k" * 32,)
TENANT = uuid.UUID(int=7)
NAMES = [f"field {n}" for n in range(40)]


def question(names: list[str]) -> Struct:
    """Return a message with a map, whose entries come in this order."""
    asked = Struct()
    for name in names:
        asked[name] = name
    return asked


def test_the_order_in_which_a_map_was_filled_is_no_part_of_the_question() -> None:
    token = ContinuationTokens(KEYS, "list", TENANT, question(NAMES)).issue(b"place")
    again = ContinuationTokens(KEYS, "list", TENANT, question(NAMES[::-1]))
    assert again.read("page_token", token, bytes) == b"place"
