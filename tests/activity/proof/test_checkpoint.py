"""The checkpoint: a note that the log's key signed says what it says, and no other does."""

from __future__ import annotations

import base64
import uuid
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.activity.proof import checkpoint
from services.activity.proof.checkpoint import KeyFileError, NoteError, Statement

KEY = Ed25519PrivateKey.generate()
STATEMENT = Statement(checkpoint.origin_of(uuid.uuid4()), 7, sha256(b"root").digest())
NOTE = checkpoint.sign(STATEMENT, KEY)


def test_a_signed_note_says_what_was_signed() -> None:
    assert checkpoint.read(NOTE, KEY.public_key()) == STATEMENT


def test_the_note_has_the_form_of_c2sp() -> None:
    lines = NOTE.split("\n")
    assert lines[:3] == [STATEMENT.origin, "7", base64.b64encode(STATEMENT.root).decode()]
    dash, name, blob = lines[4].split(" ")
    assert (lines[3], dash, name, lines[5]) == ("", "\u2014", STATEMENT.origin, "")
    raw = KEY.public_key().public_bytes_raw()
    named = sha256(f"{name}\n".encode() + b"\x01" + raw).digest()
    assert base64.b64decode(blob)[:4] == named[:4]
    KEY.public_key().verify(base64.b64decode(blob)[4:], "\n".join(lines[:3]).encode() + b"\n")


def test_other_signatures_and_extension_lines_do_not_disturb() -> None:
    text = STATEMENT.text() + "extension\n"
    raw = KEY.public_key().public_bytes_raw()
    key_id = sha256(f"{STATEMENT.origin}\n".encode() + b"\x01" + raw).digest()[:4]
    ours = base64.b64encode(key_id + KEY.sign(text.encode())).decode()
    note = f"{text}\n\u2014 witness AAAA\n\u2014 {STATEMENT.origin} {ours}\n"
    assert checkpoint.read(note, KEY.public_key()) == STATEMENT


def test_a_text_may_have_an_empty_line_and_the_note_the_line_ends_of_windows() -> None:
    text = STATEMENT.text() + "\nextension\n"
    blob = base64.b64decode(NOTE.split(" ")[-1])[:4] + KEY.sign(text.encode())
    note = f"{text}\n\u2014 {STATEMENT.origin} {base64.b64encode(blob).decode()}\n"
    assert checkpoint.read(note, KEY.public_key()) == STATEMENT
    assert checkpoint.read(note.replace("\n", "\r\n"), KEY.public_key()) == STATEMENT


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (NOTE.replace("\n7\n", "\n8\n"), "signature is wrong"),
        (NOTE.replace("prospect", "prospekt", 1), "no signature"),
        (NOTE.replace("prospect", "prospekt"), "another key"),
        (NOTE.split("\n\n", maxsplit=1)[0] + "\n\n", "no signature"),
        ("", "not a checkpoint"),
        ("origin\nseven\nAAAA\n\n", "not a checkpoint"),
        ("origin\n7\nAAAA\n\n", "not a SHA-256"),
        ("origin\n7\n?\n\n", "the checkpoint's root is not base64"),
        ("origin\n7\n\n", "not a checkpoint"),
        ("\n7\nAAAA\n\n", "not a checkpoint"),
        (NOTE[:-2] + "?\n", "the checkpoint's signature is not base64"),
    ],
)
def test_a_changed_note_is_refused(note: str, says: str) -> None:
    with pytest.raises(NoteError, match=says):
        checkpoint.read(note, KEY.public_key())


def test_a_note_of_another_key_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(NoteError, match="another key"):
        checkpoint.read(checkpoint.sign(STATEMENT, other), KEY.public_key())


def test_a_note_may_be_signed_with_any_of_the_keys_that_are_trusted() -> None:
    others = tuple(Ed25519PrivateKey.generate().public_key() for _ in range(2))
    assert checkpoint.read(NOTE, *others, KEY.public_key()) == STATEMENT
    assert checkpoint.read_signed(NOTE, (*others, KEY.public_key()))[1] == KEY.public_key()
    pems = "".join(checkpoint.public_pem(each) for each in others)
    assert checkpoint.public_keys(pems.encode()) == others
    assert checkpoint.public_keys(pems.strip().encode()) == others
    with pytest.raises(KeyFileError):
        checkpoint.public_keys(b"no key")


def test_keys_are_read_from_pem_and_nothing_else() -> None:
    pem = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert checkpoint.private_key(pem).public_key() == KEY.public_key()
    public = checkpoint.public_pem(KEY.public_key()).encode()
    assert checkpoint.public_key(public) == KEY.public_key()
    for read in (checkpoint.private_key, checkpoint.public_key):
        with pytest.raises(KeyFileError, match="Ed25519"):
            read(b"dev-only")
