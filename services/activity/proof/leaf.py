"""The leaf of an entry, computed from a line of a sealed export as SQL's leaf_hash computes it.

Pure. The line is not parsed into Python values: a float would not be the number that was hashed,
and nesting as deep as PostgreSQL takes it would overflow the parser. It is split into JSON
tokens, which are written as PostgreSQL writes jsonb.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.activity.proof.merkle import HASH_BYTES, leaf_hash

_TOKEN = re.compile(
    r'[ \t\r\n]*("(?:[^"\\\x00-\x1f]|\\.)*"|[{}\[\],:]|-?[0-9][0-9.eE+-]*|true|false|null)'
    r"[ \t\r\n]*"
)
_ESCAPED = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_TO_ESCAPE = re.compile(r'["\\\x00-\x1f]')
_SPACED = {",": ", ", ":": ": "}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_TEXTS = ("action_type", "target_id", "metadata", "ip_address", "user_agent")


class LineError(ValueError):
    """A line is not one of a sealed export."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a sealed export: a leaf's index and hash, and its entry, or why that is gone."""

    index: int
    leaf: bytes
    activity_id: str
    created_at: str
    content: bytes | None
    gone: str = ""

    def is_as_sealed(self) -> bool:
        """Say whether the entry has the hash of the leaf; true where the entry is gone."""
        return self.content is None or leaf_hash(self.content) == self.leaf


def parse(line: str) -> Line:
    """Parse a line; raise LineError where it is not one of a sealed export."""
    try:
        members = _members(line)
        leaf = bytes.fromhex(members["leaf_hash"])
        if len(leaf) != HASH_BYTES:
            raise LineError("leaf_hash is not 32 bytes")
        return Line(
            index=int(members["leaf_index"]),
            leaf=leaf,
            activity_id=members["activity_id"],
            created_at=members["created_at"],
            content=_content(members) if "salt" in members else None,
            gone=members.get("gone", ""),
        )
    except KeyError as missing:
        raise LineError(f"not a line of a sealed export: it has no {missing}") from None
    except LineError as error:
        raise LineError(f"not a line of a sealed export: {error}") from None
    except (ValueError, OverflowError):
        text = "not a line of a sealed export: a value has not the form of its member"
        raise LineError(text) from None


def _content(members: Mapping[str, str]) -> bytes:
    """Return the bytes that the leaf is the hash of (leaf_hash in the second migration)."""
    ids = (members[name] for name in ("salt", "tenant_id", "activity_id", "user_id"))
    times = (members[name] for name in ("created_at", "recorded_at"))
    return b"".join(
        [
            *(UUID(each).bytes for each in ids),
            *(_microseconds(each).to_bytes(8, "big", signed=True) for each in times),
            *(members[name].encode() + b"\x00" for name in _TEXTS),
        ]
    )


def _microseconds(moment: str) -> int:
    return (datetime.fromisoformat(moment) - _EPOCH) // timedelta(microseconds=1)


def _members(line: str) -> dict[str, str]:
    """Return an object's members: strings decoded, other values as PostgreSQL writes jsonb."""
    tokens = list(_tokens(line))
    if len(tokens) < 2 or tokens[0] != "{" or tokens[-1] != "}":
        raise LineError("not an object")
    members: dict[str, str] = {}
    for name, value in _pairs(tokens[1:-1]):
        if name in members:
            raise LineError(f"the member {name} comes twice")
        members[name] = value
    return members


def _pairs(tokens: list[str]) -> Iterator[tuple[str, str]]:
    start = 0
    for end in _ends(tokens):
        member = tokens[start:end]
        if len(member) < 3 or not member[0].startswith('"') or member[1] != ":":
            raise LineError("not a member")
        name, _, *value = member
        single = len(value) == 1 and value[0].startswith('"')
        yield json.loads(name), json.loads(value[0]) if single else _jsonb(value)
        start = end + 1


def _ends(tokens: list[str]) -> Iterator[int]:
    """Yield where each member ends: at a comma outside of nested objects and arrays."""
    depth = 0
    for position, each in enumerate(tokens):
        if each in ("{", "["):
            depth += 1
        elif each in ("}", "]"):
            depth -= 1
        elif each == "," and depth == 0:
            yield position
    if tokens:
        yield len(tokens)


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise LineError(f"not JSON at character {position}")
        yield found[1]
        position = found.end()


def _jsonb(tokens: list[str]) -> str:
    """Return a value as PostgreSQL writes jsonb; keys stay in the order of the line."""
    return "".join(
        _quoted(json.loads(token)) if token.startswith('"') else _SPACED.get(token, token)
        for token in tokens
    )


def _quoted(text: str) -> str:
    """Return a string as PostgreSQL's escape_json writes it."""
    return f'"{_TO_ESCAPE.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    return _ESCAPED.get(found[0]) or f"\\u{ord(found[0]):04x}"
