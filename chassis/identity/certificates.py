"""Certificates and keys from PEM files, read again when the files change.

A change is seen at the next handshake: connections that are open stay as they are. Where the new
files cannot be used, such as a certificate that stands there before its key, the former ones stay
in use, and a warning says so.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from chassis.settings import PREFIX, SettingsError

T = TypeVar("T")
_UNUSABLE = (OSError, ValueError, TypeError, UnsupportedAlgorithm)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PemFiles:
    """One side of a TLS connection: its certificate with the key, and the authority it trusts."""

    name: str
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    @classmethod
    def of(cls, settings: object, name: str, authority: str = "ca_file") -> Self:
        """Return the files that the settings `<name>_certificate_file` and so on name.

        Raises SettingsError for a certificate without its key, and the reverse.
        """
        certificate, key = (
            getattr(settings, f"{name}_{each}_file") for each in ("certificate", "key")
        )
        if (certificate is None) != (key is None):
            given, missing = ("CERTIFICATE", "KEY") if certificate else ("KEY", "CERTIFICATE")
            prefix = f"{PREFIX}{name}_".upper()
            text = f"is set without {prefix}{missing}_FILE: a certificate and its key come together"
            raise SettingsError(f"{prefix}{given}_FILE {text}")
        return cls(name, certificate, key, getattr(settings, f"{name}_{authority}"))

    @property
    def given(self) -> Sequence[Path]:
        """The files that are set."""
        return [each for each in (self.certificate, self.key, self.authority) if each]

    def pair(self) -> tuple[bytes, bytes] | None:
        """Read the key and the chain of its certificate; ValueError where they are no pair."""
        if self.certificate is None or self.key is None:
            return None
        chain, key = self.certificate.read_bytes(), self.key.read_bytes()
        leaf = x509.load_pem_x509_certificates(chain)[0]
        if leaf.public_key() != serialization.load_pem_private_key(key, None).public_key():
            raise ValueError("the key is not the certificate's")
        return key, chain

    def roots(self) -> bytes | None:
        """Read the authorities; None where no file is set, ValueError where it has none."""
        if self.authority is None:
            return None
        roots = self.authority.read_bytes()
        x509.load_pem_x509_certificates(roots)
        return roots


class Reread(Generic[T]):
    """What is made of files, made anew when they have changed."""

    def __init__(self, files: PemFiles, make: Callable[[], T]) -> None:
        """Make it for the first time; raise SettingsError, which names the files, if it fails."""
        self._files = files
        self._make = make
        self._seen = self._stamps()
        try:
            self._made = make()
        except _UNUSABLE as error:
            named = ", ".join(map(str, files.given))
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            text = f"PROSPECT_{files.name.upper()}_…_FILE: {named}: {why}"
            raise SettingsError(text) from None

    def current(self) -> T:
        """Return what the files say now, or said last when they could be used."""
        stamps = self._stamps()
        if stamps != self._seen:
            try:
                self._made, self._seen = self._make(), stamps
                _log.info("certificates read", files=list(map(str, self._files.given)))
            except _UNUSABLE as error:
                _log.warning("certificates not read", error=str(error), files=self._files.name)
        return self._made

    def _stamps(self) -> list[tuple[int, ...]]:
        return [_stamp(path) for path in self._files.given]


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def server_credentials(files: PemFiles, *, demand_client: bool) -> grpc.ServerCredentials:
    """Return the credentials of a gRPC port; each handshake has the files as they are then."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        pair, roots = files.pair(), files.roots()
        assert pair is not None  # noqa: S101 -- the caller has looked
        return grpc.ssl_server_certificate_configuration([pair], roots)

    reread = Reread(files, configuration)
    used = initial = reread.current()

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        current = reread.current()
        if current is used:
            return None
        used = current
        return current

    # By its documentation None means no change; its types do not say so.
    return grpc.dynamic_ssl_server_credentials(initial, newer, demand_client)  # type: ignore[arg-type]


def client_context(files: PemFiles) -> ssl.SSLContext | None:
    """Return the context of a client that checks its server's name, None where no file is set.

    Its certificate authorities are the system's where no other is set.
    """
    return _RereadingContext.of(files) if files.given else None


class _RereadingContext(ssl.SSLContext):
    """A context that has, at each handshake, the files as they are then.

    asyncpg and nats-py keep one context for their lifetime, and asyncio asks it for each
    connection's TLS by `wrap_bio`.
    """

    _reread: Reread[ssl.SSLContext]

    @classmethod
    def of(cls, files: PemFiles) -> Self:
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._reread = Reread(files, partial(_context, files))
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self._reread.current().wrap_bio(*arguments, **options)


def _context(files: PemFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.pair():
        assert files.certificate is not None  # noqa: S101 -- as `pair` says
        context.load_cert_chain(files.certificate, files.key)
    return context
