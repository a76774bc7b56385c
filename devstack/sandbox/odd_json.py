"""What parsers and databases do not take, put into a vendor's whole answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Behind what is said in a title, a headline or an author's name.
_TEXTS: Mapping[str, bytes] = {
    "half_pair": rb"\ud800",
    "nul": rb"\u0000",
    "not_utf8": b"\xff",
    "raw_control": b"\x01",
}
# In the answer and in each object of it.
_MEMBERS: Mapping[str, bytes] = {
    "nan": b'"odd": NaN',
    "infinity": b'"odd": -Infinity',
    "long_integer": b'"odd": ' + b"9" * 5_000,
    "key": rb'"odd\u0000\ud800": 1',
    "deep": b'"odd": ' + b"[" * 500 + b"]" * 500,
    "too_deep": b'"odd": ' + b"[" * 100_000 + b"]" * 100_000,
}
# In the place of what the call cost, and of the tokens that it took.
_PRICES: Mapping[str, bytes] = {"huge_cost": b"1e300", "long_cost": b"9" * 5_000}
NAMES = (*_TEXTS, *_MEMBERS, *_PRICES)
_SAID = re.compile(rb'("(?:title|headline|author)": ?"[^"]*)"')
_OBJECT = re.compile(rb'\{(?=")')
_PRICE = re.compile(rb'("(?:total|\w+_tokens)": ?)[\d.]+')


def odd(name: str, body: bytes) -> bytes:
    """Return a body of JSON with what the name stands for in it."""
    if name in _TEXTS:
        return _SAID.sub(lambda said: said[1] + _TEXTS[name] + b'"', body)
    if name in _MEMBERS:
        return _OBJECT.sub(lambda _: b"{" + _MEMBERS[name] + b", ", body)
    return _PRICE.sub(lambda price: price[1] + _PRICES[name], body)
