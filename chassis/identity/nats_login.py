"""How a client proves to the broker who it is: by an NKey, or by a JWT with one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nkeys

from chassis.errors import OperatorError

SEED_BEGINS = b"-----BEGIN USER NKEY SEED-----"
JWT_BEGINS = b"-----BEGIN NATS USER JWT-----"


class LoginError(OperatorError):
    """A file does not prove who we are; the text names the file and never quotes it."""


@dataclass(frozen=True, slots=True)
class Login:
    """The file that proves it; without one, the address may name a user and a password.

    A credentials file is read at each connection, so a new one is used from the next on; with a new
    NKey a client starts anew.
    """

    credentials_file: Path | None = None
    nkey_seed_file: Path | None = None

    def check(self) -> None:
        """Raise LoginError where the broker could not be told who we are."""
        if self.credentials_file and self.nkey_seed_file:
            raise LoginError("both a credentials file and an NKey seed file are given: give one")
        if self.nkey_seed_file:
            public_key_of(self.nkey_seed_file)
        if self.credentials_file:
            content = _read(self.credentials_file)
            if JWT_BEGINS not in content or SEED_BEGINS not in content:
                raise LoginError(f"{self.credentials_file} is no credentials file of NATS (.creds)")


def public_key_of(seed_file: Path) -> str:
    """Return the public key of a user's NKey, by which the broker knows it (U…)."""
    try:
        seed = bytearray(_read(seed_file).strip())
        if nkeys.decode_seed(bytearray(seed))[0] == nkeys.PREFIX_BYTE_USER:
            return bytes(nkeys.from_seed(seed).public_key).decode()
    except (nkeys.NkeysError, ValueError):
        pass
    raise LoginError(f"{seed_file} is no seed of a user's NKey (SU…)") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoginError(f"{path} cannot be read: {error.strerror}") from None
