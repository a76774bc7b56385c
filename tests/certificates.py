"""Certificates for tests, as `prospect certs dev` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509

from services.cli.operate.dev_certificates import Authority

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """A folder with an authority and what it has signed."""

    folder: Path

    def issue(self, file: str, *names: str) -> None:
        """Write a certificate, or another one in its place."""
        Authority.in_folder(self.folder, DAY).issue(file, names or ("localhost", "127.0.0.1"), DAY)

    def path(self, file: str) -> Path:
        """Return where a file is, such as `server` or `ca`."""
        return self.folder / f"{file}.pem"

    def key(self, file: str) -> Path:
        """Return where a certificate's key is."""
        return self.folder / f"{file}-key.pem"

    def serial(self, file: str) -> int:
        """Return the number that tells a certificate from those before it."""
        return x509.load_pem_x509_certificate(self.path(file).read_bytes()).serial_number

    def settings(self, prefix: str, file: str, authority: str = "") -> dict[str, Any]:
        """Return the settings that name a certificate, its key and an authority."""
        named = {
            f"{prefix}_certificate_file": self.path(file),
            f"{prefix}_key_file": self.key(file),
        }
        return named | ({authority: self.path("ca")} if authority else {})

    def credentials(self, client: str = "", trust: str = "ca") -> grpc.ChannelCredentials:
        """Return the credentials of a gRPC client, of one with a certificate if it is named."""
        roots = self.path(trust).read_bytes()
        if not client:
            return grpc.ssl_channel_credentials(roots)
        key, chain = self.key(client).read_bytes(), self.path(client).read_bytes()
        return grpc.ssl_channel_credentials(roots, key, chain)
