"""A line of a sealed export: what it says, the bytes that are hashed, and what is no line."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from services.activity.proof.leaf import LineError, parse

IDS = {
    name: str(uuid.UUID(int=n))
    for n, name in enumerate(("salt", "tenant_id", "activity_id", "user_id"), 1)
}
ENTRY = IDS | {
    "created_at": "2026-11-24T12:00:00.000007+00:00",
    "recorded_at": "1999-12-31T23:59:59+00:00",
    "action_type": "login",
    "target_id": "tärget",
    "metadata": {},
    "ip_address": "10.0.0.1",
    "user_agent": "agent",
}
LEAF = bytes(range(32))
PLACE = {"leaf_index": 7, "leaf_hash": LEAF.hex()}


def content(metadata: str = "{}") -> bytes:
    """Return the bytes as the docstring of leaf_hash in SQL has them."""
    created = (datetime(2026, 11, 24, 12, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)).days
    times = (created * 86_400 + 43_200) * 1_000_000 + 7, -1_000_000
    texts = ("login", "tärget", metadata, "10.0.0.1", "agent")
    return (
        b"".join(uuid.UUID(each).bytes for each in IDS.values())
        + b"".join(each.to_bytes(8, "big", signed=True) for each in times)
        + b"".join(each.encode() + b"\0" for each in texts)
    )


def line(**changed: Any) -> str:
    members = PLACE | ENTRY | changed
    return json.dumps({name: value for name, value in members.items() if value is not None})


def fault(text: str) -> str:
    with pytest.raises(LineError) as refused:
        parse(text)
    return str(refused.value).removeprefix("not a line of a sealed export: ")


def test_a_line_says_the_index_the_hash_and_the_entry() -> None:
    read = parse(line())
    assert (read.index, read.leaf, read.gone) == (7, LEAF, "")
    assert (read.activity_id, read.created_at) == (ENTRY["activity_id"], ENTRY["created_at"])
    assert read.content == content()


def test_an_entry_is_as_sealed_where_its_content_has_the_hash() -> None:
    sealed = sha256(b"\0" + content()).hexdigest()
    assert parse(line(leaf_hash=sealed)).is_as_sealed()
    assert not parse(line()).is_as_sealed()


def test_an_entry_that_is_gone_says_why_and_has_no_content_to_be_wrong() -> None:
    read = parse(line(salt=None, gone="erased"))
    assert (read.content, read.gone) == (None, "erased")
    assert read.is_as_sealed()


METADATA = {
    '{"a":1,"b":[1,2,{"c":null}]}': '{"a": 1, "b": [1, 2, {"c": null}]}',
    ' { "a" : -1.50e+3 } ': '{"a": -1.50e+3}',
    '{"a": [true, false], "b": {}}': '{"a": [true, false], "b": {}}',
    r'{"\u00e9\/": "\u0001\b\f\n\r\t\"\\"}': r'{"é/": "\u0001\b\f\n\r\t\"\\"}',
    r'{"a": "\u001f\u007f"}': '{"a": "\\u001f\x7f"}',
}


@pytest.mark.parametrize("text", METADATA)
def test_metadata_are_hashed_as_postgres_writes_them(text: str) -> None:
    sent = line().replace('"metadata": {}', f'"metadata": {text}')
    assert parse(sent).content == content(METADATA[text])


def test_spaces_between_members_say_nothing() -> None:
    assert parse(line().replace(", ", " ,\t\r\n ")) == parse(line())


@pytest.mark.parametrize("name", ["leaf_hash", "leaf_index", "activity_id", "created_at"])
def test_a_member_that_is_missing_is_named(name: str) -> None:
    assert fault(line(**{name: None})) == f"it has no '{name}'"


@pytest.mark.parametrize("name", ["user_id", "recorded_at", "metadata"])
def test_a_member_of_the_entry_that_is_missing_is_named(name: str) -> None:
    assert fault(line(**{name: None})) == f"it has no '{name}'"


def test_a_hash_has_32_bytes() -> None:
    assert fault(line(leaf_hash="00" * 31)) == "leaf_hash is not 32 bytes"


def test_a_member_comes_once() -> None:
    twice = line().replace("{", '{"leaf_index": 8, ', 1)
    assert fault(twice) == "the member leaf_index comes twice"


@pytest.mark.parametrize("text", ["", "{", "}", "[]", '"a"', "[}", "{]"])
def test_what_is_no_object_is_refused(text: str) -> None:
    assert fault(text) == "not an object"


@pytest.mark.parametrize("text", ["{1: 2}", '{"a" 2}', '{"a":}', '{"a": 1, 2: 3}'])
def test_what_is_no_member_is_refused(text: str) -> None:
    assert fault(text) == "not a member"


@pytest.mark.parametrize("text", ['{"a"}', '{"a": 1,}', "{,}", '{"a":1,"b"}'])
def test_a_member_that_is_cut_short_is_refused(text: str) -> None:
    assert fault(text) == "not a member"


@pytest.mark.parametrize(
    "value", [{"leaf_index": "x"}, {"leaf_hash": "zz"}, {"user_id": "x"}, {"created_at": "x"}]
)
def test_a_value_of_another_form_is_refused_in_words(value: dict[str, str]) -> None:
    assert fault(line(**value)) == "a value has not the form of its member"


@pytest.mark.parametrize(("text", "place"), [("?", 0), ('{"a": ?}', 6), ('{"a', 1)])
def test_what_is_no_json_is_told_by_the_character_at_fault(text: str, place: int) -> None:
    assert fault(text) == f"not JSON at character {place}"


def test_what_stands_behind_a_members_text_is_not_left_out_of_what_is_hashed() -> None:
    text = line().replace('"target_id": "', '"target_id": "x" "', 1)
    assert parse(text).content != parse(line(target_id="x")).content


def test_an_object_without_members_misses_them() -> None:
    assert fault("{}") == "it has no 'leaf_hash'"
