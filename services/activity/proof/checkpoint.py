"""The signed checkpoint: size and root of a tenant's log as a C2SP signed note (tlog-checkpoint).

Pure: it reads no clock, file or database, so that a verifier elsewhere can use it alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_SIZE = re.compile(r"[0-9]{1,18}")
_MARK = "\u2014 "  # a signature line begins with an em dash
_ID_BYTES = 4
_PEM_END = b"-----END PUBLIC KEY-----"


class NoteError(ValueError):
    """A note is not a checkpoint that the key has signed; the text says why."""


class KeyFileError(ValueError):
    """A file is not an Ed25519 key in PEM."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a checkpoint states: the log of `origin` has so many leaves, with this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def origin_of(tenant_id: UUID) -> str:
    """Return the origin line of a tenant's log, which is also the name of its key."""
    return f"prospect/activity/{tenant_id}"


def sign(statement: Statement, key: Ed25519PrivateKey) -> str:
    """Return the signed note."""
    text = statement.text()
    blob = _key_id(statement.origin, key.public_key()) + key.sign(text.encode())
    return f"{text}\n{_MARK}{statement.origin} {base64.b64encode(blob).decode()}\n"


def read(note: str, *keys: Ed25519PublicKey) -> Statement:
    """Return what a note states; raise NoteError where none of the keys has signed it."""
    return read_signed(note, keys)[0]


def read_signed(note: str, keys: Sequence[Ed25519PublicKey]) -> tuple[Statement, Ed25519PublicKey]:
    """Return what a note states and which of the keys has signed it, or raise NoteError."""
    text, _, signatures = note.replace("\r\n", "\n").rpartition("\n\n")
    statement = _statement(text)
    for line in signatures.splitlines():
        name, _, encoded = line.removeprefix(_MARK).partition(" ")
        if line.startswith(_MARK) and name == statement.origin:
            return statement, _signer(f"{text}\n", name, encoded, keys)
    raise NoteError("the checkpoint has no signature of the log's key")


def _signer(
    text: str, name: str, encoded: str, keys: Sequence[Ed25519PublicKey]
) -> Ed25519PublicKey:
    blob = _decoded(encoded, "signature")
    key = next((key for key in keys if _key_id(name, key) == blob[:_ID_BYTES]), None)
    if key is None:
        raise NoteError("the checkpoint is signed with another key")
    try:
        key.verify(blob[_ID_BYTES:], text.encode())
    except InvalidSignature:
        raise NoteError("the checkpoint's signature is wrong") from None
    return key


def _statement(text: str) -> Statement:
    origin, *rest = text.split("\n")
    if len(rest) < 2 or not origin or not _SIZE.fullmatch(rest[0]):
        raise NoteError("the text is not a checkpoint")
    root = _decoded(rest[1], "root")
    if len(root) != sha256().digest_size:
        raise NoteError("the checkpoint's root is not a SHA-256 hash")
    return Statement(origin, int(rest[0]), root)


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"the checkpoint's {what} is not base64") from None


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:_ID_BYTES]


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """Return the private key of a PEM file; raise KeyFileError where it has none."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError("is not an Ed25519 private key in PEM, unencrypted")
    return key


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Return the public key of a PEM file; raise KeyFileError where it has none."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError("is not an Ed25519 public key in PEM")
    return key


def public_keys(pem: bytes) -> tuple[Ed25519PublicKey, ...]:
    """Return the public keys of a file of PEM blocks, which has at least one."""
    blocks = pem.split(_PEM_END)[:-1] or [pem]
    return tuple(public_key(block.strip() + b"\n" + _PEM_END) for block in blocks)


def public_pem(key: Ed25519PublicKey) -> str:
    """Return a public key as PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
