"""A vendor's JSON: one odd character or number in it does not lose the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrichment.sources.vendor_json import MAX_DEPTH, MAX_NUMBER, read_json

TEXTS = st.text(st.characters(categories=None), max_size=20)  # halves of surrogate pairs too
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


def storable(value: Any) -> bool:
    """Whether Postgres takes a value as jsonb, numbers and all within their bounds."""
    match value:
        case str():
            return not any(each == "\0" or "\ud800" <= each <= "\udfff" for each in value)
        case list():
            return all(map(storable, value))
        case dict():
            return all(storable(key) and storable(each) for key, each in value.items())
        case int() | float():
            return -MAX_NUMBER <= value <= MAX_NUMBER
    return value is None


@given(VALUES, st.booleans())
def test_whatever_json_is_read_can_be_stored(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert storable(read_json(text.encode(errors="surrogatepass")))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    try:
        value = read_json(body)
    except ValueError:
        return
    assert storable(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a": "half \ud800 pair"}', {"a": "half � pair"}),
        (r'{"a": "whole \ud83d\ude00 pair"}', {"a": "whole 😀 pair"}),
        (r'{"a": ["\u0000nul"]}', {"a": ["nul"]}),
        ('{"a": "raw\n\1line"}', {"a": "raw\n\1line"}),
        (r'{"a": 1, "a\u0000": 2, "\ud800": 3}', {"a": 1}),
        ('{"a": NaN, "b": Infinity, "c": -Infinity}', {"a": None, "b": 10**15, "c": -(10**15)}),
        ('{"a": 1e300, "b": -1e999, "c": 0.25}', {"a": 10**15, "b": -(10**15), "c": 0.25}),
        ('{"a": ' + "9" * 5_000 + ', "b": -' + "9" * 5_000 + "}", {"a": 10**15, "b": -(10**15)}),
        ('{"a": 999999999999999}', {"a": 999_999_999_999_999}),
        ("﻿{}", {}),
    ],
)
def test_what_is_odd_is_replaced_and_all_else_kept(text: str, value: Any) -> None:
    assert read_json(text.encode()) == value


def test_a_text_that_is_not_utf8_is_kept_as_far_as_it_is() -> None:
    assert read_json(b'{"a": "Zo\xeb"}') == {"a": "Zo�"}


def test_what_is_nested_too_deeply_is_null_and_all_else_kept() -> None:
    value = read_json(b'{"a": ' + b"[" * 500 + b"]" * 500 + b', "b": 1}')
    assert value["b"] == 1
    inner, depth = value["a"], 1
    while inner:
        (inner,), depth = inner, depth + 1
    assert (inner, depth) == (None, MAX_DEPTH)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000 + "]" * 100_000, '{"a": 1,}', "no"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_json(text.encode())
