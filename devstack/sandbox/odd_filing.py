"""What filings that were really filed have wrong, put into a whole one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*>\s*")


def _first(pattern: bytes, by: bytes) -> Callable[[bytes], bytes]:
    return lambda xml: re.sub(pattern, by, xml, count=1)


_WAYS: Mapping[str, Callable[[bytes], bytes]] = {
    "utf16": lambda xml: _DECLARATION.sub(b"", xml).decode().encode("utf-16"),
    "two_documents": lambda xml: xml + b"\n" + _DECLARATION.sub(b"", xml),
    "bad_declaration": lambda xml: b"<?xml version=1.0?>\n" + _DECLARATION.sub(b"", xml),
    "lost_value": _first(rb"(<transactionShares>\s*)<value>", rb"\1<valu>"),
    "lost_code": _first(rb"</transactionCode>", b"<transactionCode>"),
    "year_2035": _first(rb"(<transactionDate>\s*<value>)\d{4}", rb"\g<1>2035"),
    "year_0022": _first(rb"(<transactionDate>\s*<value>)\d{4}", rb"\g<1>0022"),
    "separator": _first(rb"(<transactionShares>\s*<value>)\d+", rb"\g<1>1,800"),
}
NAMES = tuple(_WAYS)


def odd(name: str, xml: bytes) -> bytes:
    """Return a filing with what the name stands for in it; as it is for a name that is none."""
    return _WAYS[name](xml) if name in _WAYS else xml
