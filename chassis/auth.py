"""Who calls: the bearer JWT alone says which tenant, which user and which scopes.

Claims: `tenant_id` (UUID; absent for a service's own token), `sub` (user UUID), `scope`
(space-separated, such as `activity:read activity:write`), `iss`, `aud`, `exp`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt

from chassis.clock import utc_now
from chassis.errors import PermissionDenied, Unauthenticated
from chassis.settings import ServiceSettings, SettingsError

ALGORITHMS = ["EdDSA", "ES256", "RS256"]
KNOWN_TOKENS = 10_000
TRUST_SECONDS = 300.0  # how long a token stays valid here after its key was withdrawn


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity behind a call."""

    user_id: UUID
    tenant: UUID | None
    scopes: frozenset[str]

    @property
    def tenant_id(self) -> UUID:
        """The tenant; a token without one may not call what is a tenant's."""
        if self.tenant is None:
            raise PermissionDenied("the token names no tenant_id", reason="TENANT_REQUIRED")
        return self.tenant

    def require(self, scope: str) -> None:
        """Raise PermissionDenied unless the token has `scope`."""
        if scope not in self.scopes:
            text = f"the token lacks the scope {scope}"
            raise PermissionDenied(text, reason="SCOPE_REQUIRED", metadata={"scope": scope})


Verify = Callable[[str | bytes | None], Awaitable[Caller]]
_caller: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Bind the identity to the call being served (the interceptor does)."""
    _caller.set(caller)


def current_caller() -> Caller:
    """Return the identity behind the call being served."""
    return _caller.get()


def verifier(settings: ServiceSettings) -> Verify:
    """Return what turns `authorization` metadata into a Caller or raises Unauthenticated."""
    find_key = _key_source(settings)
    known: OrderedDict[str | bytes | None, tuple[Caller, float]] = OrderedDict()

    async def verify(authorization: str | bytes | None) -> Caller:
        # A signature costs as much to check as the rest of a call: each token's is checked once.
        caller, expires_at = known.get(authorization, (None, 0.0))
        if caller and utc_now().timestamp() < expires_at:
            return caller
        caller, expires_at = await check(_token_in(authorization))
        known[authorization] = (caller, expires_at)
        if len(known) > KNOWN_TOKENS:
            known.popitem(last=False)
        return caller

    async def check(token: str) -> tuple[Caller, float]:
        try:
            claims = jwt.decode(
                token,
                await find_key(token),
                algorithms=ALGORITHMS,
                issuer=settings.auth_issuer,
                audience=settings.auth_audience,
                options={"require": ["exp", "sub", "iss", "aud"]},
            )
            tenant = claims.get("tenant_id")
            scopes = frozenset(str(claims.get("scope", "")).split())
            caller = Caller(UUID(claims["sub"]), UUID(tenant) if tenant else None, scopes)
            return caller, min(float(claims["exp"]), utc_now().timestamp() + TRUST_SECONDS)
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired", reason="TOKEN_EXPIRED") from None
        except jwt.PyJWKClientConnectionError:
            raise Unauthenticated("the signing keys are out of reach", reason="NO_KEYS") from None
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            text = f"the token is not valid: {error}"
            raise Unauthenticated(text, reason="TOKEN_INVALID") from None

    return verify


def _token_in(authorization: str | bytes | None) -> str:
    text = (
        authorization.decode("ascii", "replace")
        if isinstance(authorization, bytes)
        else authorization
    )
    scheme, _, token = (text or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        how = "send the metadata `authorization: Bearer <token>`"
        raise Unauthenticated(how, reason="TOKEN_MISSING")
    return token


def _key_source(settings: ServiceSettings) -> Callable[[str], Awaitable[Any]]:
    if settings.auth_jwks_url:
        keys = jwt.PyJWKClient(settings.auth_jwks_url, timeout=5)

        async def from_jwks(token: str) -> Any:
            # The client fetches with blocking I/O when its cache misses, hence the thread.
            return (await asyncio.to_thread(keys.get_signing_key_from_jwt, token)).key

        return from_jwks
    if not settings.auth_public_key:
        raise SettingsError("set PROSPECT_AUTH_PUBLIC_KEY or PROSPECT_AUTH_JWKS_URL")

    async def fixed(token: str) -> Any:
        return settings.auth_public_key

    return fixed
