"""Tokens with which a caller goes on: opaque, and good only for the question they came from."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from chassis.errors import InvalidArgument

PAGE_FIELDS = frozenset({"page_size", "page_token", "resume_token"})
_SUM = 8
T = TypeVar("T")


class Tokens:
    """Makes and reads the tokens of one question: a kind, a tenant, and what was asked.

    How large a page is and where it begins is no part of the question. The checksum is no secret: a
    position in the caller's own log is all that a token says.
    """

    def __init__(self, kind: str, tenant_id: UUID, asked: Message, *more: object) -> None:
        question = type(asked)()
        question.CopyFrom(asked)
        for field in PAGE_FIELDS.intersection(question.DESCRIPTOR.fields_by_name):
            question.ClearField(field)
        said = (kind, tenant_id.hex, question.SerializeToString(deterministic=True), *more)
        self._question = repr(said).encode()

    def issue(self, position: bytes) -> str:
        """Return the token for a position."""
        return base64.urlsafe_b64encode(self._sum(position) + position).decode()

    def read(self, field: str, token: str, parse: Callable[[bytes], T]) -> T:
        """Return the position of a token, parsed, or refuse one that does not belong here."""
        try:
            packed = base64.urlsafe_b64decode(token)
            position = packed[_SUM:]
            # Compared as issued: base64 has more than one spelling of the same bytes.
            if len(packed) > _SUM and self.issue(position) == token:
                return parse(position)
        except (ValueError, TypeError, LookupError, AttributeError, struct.error):
            pass  # who can compute the sum can make a token of anything
        text = "must come from a response before, and be sent with what was asked then"
        raise InvalidArgument.field(field, field, text)

    def _sum(self, position: bytes) -> bytes:
        said = self._question + position
        return blake2b(said, digest_size=_SUM, person=b"prospect-token").digest()
