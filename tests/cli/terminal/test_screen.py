"""What is shown cannot steer the reader's terminal, nor turn its text round."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.terminal.screen import escaped, shown

STEERING = [
    "\x1b[31m",
    "\x9b31m",
    "\x85",
    "\x7f",
    "\u202eevil",
    "\u2066a\u2069",
    "\u200b",
    "\U000e0041",
]


@pytest.mark.parametrize("text", STEERING)
def test_no_control_character_is_shown(text: str) -> None:
    said = escaped(json.dumps({"a": text}, ensure_ascii=False))
    assert said.isprintable()
    assert json.loads(said) == {"a": text}
    assert shown(text).plain.isprintable()


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_escaped_json_says_the_same(value: object) -> None:
    for indent in (None, 2):
        said = escaped(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(said) == value
        assert said.replace("\n", "").isprintable()


def test_what_can_be_seen_is_left_alone() -> None:
    said = json.dumps({"Zoë": "李小龙 😀"}, ensure_ascii=False)
    assert escaped(said) == said
