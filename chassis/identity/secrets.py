"""Secrets are shown to nobody: not in errors, not in logs, not in files that others may read."""

from __future__ import annotations

import os
import re
import stat

MASK = "***"
_USER_INFO = re.compile(r"(://)\S*(@)")
_PASSWORD = re.compile(r"(password=)[^&\s]*", re.IGNORECASE)
_SEPARATORS = re.compile(r"[:/?#@&=%\[\]\s]+")


def masked(text: str) -> str:
    """Return a text with the users and passwords of its addresses masked, readable or not."""
    return _PASSWORD.sub(rf"\1{MASK}", _USER_INFO.sub(rf"\1{MASK}\2", text))


def without_password(text: str, address: str) -> str:
    """Return what someone else says of an address, without any part of the address's password.

    A password whose special characters are not encoded is taken for a host, a port or a database
    by whoever reads the address, and named in the error.
    """
    found = re.search(r"://[^:\s]*:(\S*)@", address)
    parts = _SEPARATORS.split(found[1]) if found else []
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, MASK) if len(part) > 2 else text
    return masked(text)


def private(path: str, flags: int) -> int:
    """Open a file that only its owner may read, whoever could before: an `opener` for `open`."""
    descriptor = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, 0o600)
    return descriptor
