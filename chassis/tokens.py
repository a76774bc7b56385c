"""Page and resume tokens: signed, and good only for the question that they came from."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from chassis.database import Pool
from chassis.errors import InvalidArgument
from chassis.settings import SettingsError

PAGE_FIELDS = frozenset({"page_size", "page_token", "resume_token"})
MIN_KEY_CHARACTERS = 32
TokenKeys = tuple[bytes, ...]
"""The keys that tokens are signed with: the first signs, all verify."""
_READ_KEY = "select key from token_key"
_SIGNATURE = 16
T = TypeVar("T")


async def read_keys(given: str, pool: Pool) -> TokenKeys:
    """Return the keys of the setting `token_keys`; where it is empty, the service's own.

    That stands in the service's schema, so that its replicas agree. Raises SettingsError.
    """
    secrets = [each.encode() for each in given.split()]
    if any(len(each) < MIN_KEY_CHARACTERS for each in secrets):
        text = f"each key must have {MIN_KEY_CHARACTERS} characters or more"
        raise SettingsError(f"PROSPECT_TOKEN_KEYS is wrong: {text} (see `prospect config`)")
    secrets = secrets or [await pool.fetchval(_READ_KEY)]
    return tuple(blake2b(each, digest_size=32).digest() for each in secrets)


class ContinuationTokens:
    """Makes and reads the tokens of one question: a kind, a tenant, and what was asked.

    Each RPC has a kind of its own. How large a page is and where it begins is no part of the
    question. A position is signed and not hidden: it is one in the caller's own rows.
    """

    def __init__(
        self, keys: TokenKeys, kind: str, tenant_id: UUID, asked: Message, *more: object
    ) -> None:
        question = type(asked)()
        question.CopyFrom(asked)
        for field in PAGE_FIELDS.intersection(question.DESCRIPTOR.fields_by_name):
            question.ClearField(field)
        said = (kind, tenant_id.hex, question.SerializeToString(deterministic=True), *more)
        self._question = repr(said).encode()
        self._keys = keys

    def issue(self, position: bytes) -> str:
        """Return the token for a position."""
        return self._signed(self._keys[0], position)

    def read(self, field: str, token: str, parse: Callable[[bytes], T]) -> T:
        """Return the position of a token, parsed, or refuse one that does not belong here."""
        try:
            position = base64.urlsafe_b64decode(token)[_SIGNATURE:]
            # Compared as issued: base64 has more than one spelling of the same bytes.
            if any(compare_digest(self._signed(key, position), token) for key in self._keys):
                return parse(position)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error):
            pass  # another version of this service may have signed a position of another form
        text = (
            "must come from a response before, and be sent with what was asked then;"
            " one from before a change of keys is no longer good: begin anew"
        )
        raise InvalidArgument.field(field, field, text)

    def _signed(self, key: bytes, position: bytes) -> str:
        said = self._question + position
        mac = blake2b(said, key=key, digest_size=_SIGNATURE, person=b"prospect-token")
        return base64.urlsafe_b64encode(mac.digest() + position).decode()
