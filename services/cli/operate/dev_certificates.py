"""Certificates for development: an authority, and what it signs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chassis.clock import utc_now
from chassis.identity.secrets import private
from chassis.settings import SettingsError

_PEM = serialization.Encoding.PEM
CLOCKS_APART = timedelta(minutes=5)
_SERVER_AND_CLIENT = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of one's own, in a folder."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def in_folder(cls, folder: Path, lifetime: timedelta) -> Authority:
        """Return the folder's authority, made when there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / "ca.pem", folder / "ca-key.pem"
        if certificate.exists() and key.exists():
            try:
                loaded = serialization.load_pem_private_key(key.read_bytes(), None)
                found = x509.load_pem_x509_certificate(certificate.read_bytes())
            except (ValueError, TypeError):
                text = f"{certificate} and its key cannot be read: delete them"
                raise SettingsError(text) from None
            if isinstance(loaded, ec.EllipticCurvePrivateKey):
                return cls(folder, found, loaded)
            raise SettingsError(f"{key} is no EC key: delete it and {certificate}")
        return cls._new(folder, lifetime)

    @classmethod
    def _new(cls, folder: Path, lifetime: timedelta) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("prospect development authority")
        usage = x509.KeyUsage(
            key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = (
            _builder(name, key, lifetime)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        certificate = builder.sign(key, hashes.SHA256())
        _write(folder, "ca", certificate, key)
        return cls(folder, certificate, key)

    def issue(self, file: str, names: Sequence[str], lifetime: timedelta) -> None:
        """Write a certificate for these names, and its key; the first is its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = (
            _builder(_name(names[0]), key, lifetime)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.SubjectAlternativeName(list(map(_alternative, names))), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_SERVER_AND_CLIENT), critical=False)
            .add_extension(issuer, critical=False)
        )
        _write(self.folder, file, builder.sign(self.key, hashes.SHA256()), key)


def _builder(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = utc_now()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name)


def _write(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    """Write both, each in one step: a server may be reading them."""
    pem = key.private_bytes(
        _PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    contents = {f"{name}-key.pem": pem, f"{name}.pem": certificate.public_bytes(_PEM)}
    for file, content in contents.items():
        part = folder / f".{file}.part"
        with open(part, "wb", opener=private if content is pem else None) as written:
            written.write(content)
        part.replace(folder / file)
