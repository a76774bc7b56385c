"""A vendor's JSON, with what no database and no contract of ours takes replaced.

An answer may have been paid for: one odd character or number in it must not lose the rest. So half
a surrogate pair and bytes that are not UTF-8 become U+FFFD, a zero character is dropped, a key with
either is left out with its value, numbers are bounded, NaN is null, and so is what is nested too
deeply. Only text that is no JSON at all is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64
MAX_NUMBER = 10**15
"""Exact as a float, and far from the bounds of what Postgres and the contracts take."""
_LONG = len(str(MAX_NUMBER))
_ODD = re.compile(rf"\\u(?:0000|[dD][89a-fA-F])|\0|NaN|Infinity|\d{{{_LONG}}}|\d[eE]")
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def read_json(body: bytes) -> Any:
    """Return the value of a body of JSON; raise ValueError where it is none."""
    text = body.decode(json.detect_encoding(body), "replace")
    is_odd = _ODD.search(text) is not None
    try:
        # The hooks make reading slow, and few answers need them.
        value = json.loads(text, strict=False, **(_BOUNDING if is_odd else {}))
    except RecursionError:
        raise ValueError("nested too deeply to be read") from None
    may_be_deep = text.count("[") + text.count("{") > MAX_DEPTH
    return _storable(value, 0) if is_odd or may_be_deep else value


def _storable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value) if _NOT_STORABLE.search(value) else value
    if not isinstance(value, list | dict):
        return value
    if depth == MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_storable(each, depth + 1) for each in value]
    return {
        key: _storable(each, depth + 1)
        for key, each in value.items()
        if not _NOT_STORABLE.search(key)
    }


def _text(value: str) -> str:
    return _HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", value.replace("\0", ""))


def _integer(digits: str) -> int:
    """Return a bounded integer: Python refuses to read more than 4,300 digits."""
    if len(digits) > _LONG + 1:
        return -MAX_NUMBER if digits.startswith("-") else MAX_NUMBER
    return max(-MAX_NUMBER, min(int(digits), MAX_NUMBER))


def _decimal(digits: str) -> float:
    return max(-MAX_NUMBER, min(float(digits), MAX_NUMBER))


def _constant(name: str) -> int | None:
    return {"Infinity": MAX_NUMBER, "-Infinity": -MAX_NUMBER}.get(name)


_BOUNDING: Mapping[str, Any] = {
    "parse_int": _integer,
    "parse_float": _decimal,
    "parse_constant": _constant,
}
