"""Services that call by their certificate: which they are, and with which scopes.

A call without a token, on a connection whose client has a certificate, is one of the service that
the certificate names. Its tenant is none, as of a service's own token.
"""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from cryptography import x509
from grpc.aio import ServicerContext

from chassis.auth import Caller
from chassis.settings import SettingsError

NOBODY = UUID(int=0)
_ALTERNATIVE_NAMES, _COMMON_NAME = "x509_subject_alternative_name", "x509_common_name"
_CERTIFICATE = "x509_pem_cert"


class ServiceCallers:
    """The services of the setting `service_callers`."""

    def __init__(self, setting: str) -> None:
        """Read `name=scope scope, name=scope`; raise SettingsError where it is not of that form."""
        self._scopes: dict[str, frozenset[str]] = {}
        for each in filter(None, map(str.strip, setting.split(","))):
            name, equals, scopes = each.rpartition("=")
            if not (name.strip() and equals and scopes.split()):
                text = f"is wrong: {each!r} must be a certificate's name, =, and scopes"
                raise SettingsError(f"PROSPECT_SERVICE_CALLERS {text}")
            self._scopes[name.strip()] = frozenset(scopes.split())

    def find(self, context: ServicerContext[object, object]) -> Caller | None:
        """Return the service at the other end of a call's connection; None for any other client.

        gRPC has verified the certificate, else the connection would not be there. The common name
        counts only where the certificate has no alternative names, as of a server (RFC 6125).
        """
        if not self._scopes:
            return None
        peer = context.auth_context()
        for name in peer.get(_ALTERNATIVE_NAMES) or peer.get(_COMMON_NAME) or ():
            scopes = self._scopes.get(name.decode("utf-8", "replace"))
            if scopes:
                return Caller(NOBODY, None, scopes, _expiry(*peer[_CERTIFICATE]))
        return None


@lru_cache(maxsize=64)
def _expiry(certificate: bytes) -> float:
    """Return when a certificate expires, in seconds since 1970: its streams end then."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
