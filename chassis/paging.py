"""Pages in the order of time and id: the cursor after which the next page begins, as its token.

A cursor names a row, not a number of rows, so that what is added meanwhile moves nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from chassis.tokens import ContinuationTokens

_POSITION = struct.Struct(">q16s")
_FIRST_MICROS = -62_135_596_800_000_000
_LAST_MICROS = 253_402_300_799_999_999
"""The calendar's first and last moment, in microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of the previous page: its time in microseconds since 1970, and its id."""

    micros: int
    row_id: UUID

    def token(self, tokens: ContinuationTokens) -> str:
        """Return the page token that asks for what comes after."""
        return tokens.issue(_POSITION.pack(self.micros, self.row_id.bytes))


def read_cursor(tokens: ContinuationTokens, page_token: str) -> Cursor | None:
    """Return the cursor of a request's page token; None for the first page."""
    if not page_token:
        return None
    return tokens.read("page_token", page_token, _parse)


def _parse(position: bytes) -> Cursor:
    micros, row_id = _POSITION.unpack(position)
    if not _FIRST_MICROS <= micros <= _LAST_MICROS:
        raise ValueError(micros)
    return Cursor(micros, UUID(bytes=row_id))
