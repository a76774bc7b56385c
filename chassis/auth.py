"""Who calls: the bearer JWT alone says which tenant, which user and which scopes.

A service may call by its certificate instead: `chassis.identity.service_callers`.

Claims: `tenant_id` (UUID; absent for a service's own token), `sub` (user UUID), `scope`
(space-separated, such as `activity:read activity:write`), `iss`, `aud`, `exp`.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
import structlog

from chassis.clock import utc_now
from chassis.errors import PermissionDenied, Unauthenticated, Unavailable
from chassis.settings import ServiceSettings, SettingsError

ALGORITHMS = ["EdDSA", "ES256", "RS256"]
KNOWN_TOKENS, KNOWN_TOKENS_BYTES = 10_000, 8_000_000  # a token may have 16 kB
FAR_FUTURE = 253_402_128_000
"""The year 9999 in seconds since 1970: a token that lives longer is taken to live so long."""
TRUST_SECONDS = 300.0  # how long a token stays valid here after its key was withdrawn
# How old the issuer's keys may be before they are read again, beside the calls that use them.
KEYS_SECONDS = 300.0
# How long the issuer has for its answer, and how long it is not asked again for an unknown key.
FETCH_SECONDS, COOLDOWN_SECONDS = 5.0, 10.0
_CLAIMS = {
    jwt.InvalidIssuerError: "iss",
    jwt.InvalidAudienceError: "aud",
    jwt.InvalidIssuedAtError: "iat",
    jwt.exceptions.InvalidSubjectError: "sub",
    jwt.exceptions.InvalidJTIError: "jti",
}
_CLAIM_IN_TEXT = re.compile(r"\((exp|nbf|iat)\)")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity behind a call; `expires_at` is when its token ends, in seconds since 1970."""

    user_id: UUID
    tenant: UUID | None
    scopes: frozenset[str]
    expires_at: float = math.inf

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
    known: OrderedDict[str | bytes, tuple[Caller, float]] = OrderedDict()
    known_bytes = 0

    async def verify(authorization: str | bytes | None) -> Caller:
        nonlocal known_bytes
        # A signature costs as much to check as the rest of a call: each token's is checked once.
        authorization = authorization or ""
        caller, expires_at = known.get(authorization, (None, 0.0))
        if caller and utc_now().timestamp() < expires_at:
            return caller
        caller, expires_at = await check(_token_in(authorization))
        if authorization not in known:
            known_bytes += len(authorization)
        known[authorization] = (caller, expires_at)
        while len(known) > KNOWN_TOKENS or known_bytes > KNOWN_TOKENS_BYTES:
            oldest, _ = known.popitem(last=False)
            known_bytes -= len(oldest)
        return caller

    async def check(token: str) -> tuple[Caller, float]:
        try:
            claims = jwt.decode(
                token,
                await find_key(token),
                algorithms=ALGORITHMS,
                issuer=settings.auth_issuer,
                audience=settings.auth_audience,
                leeway=settings.auth_leeway_seconds,
                options={"require": ["exp", "sub", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise token_expired() from None
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise _invalid(str(error), _claim_at_fault(error)) from None
        caller = _caller_of(claims, settings.auth_leeway_seconds)
        return caller, min(caller.expires_at, utc_now().timestamp() + TRUST_SECONDS)

    return verify


def token_expired() -> Unauthenticated:
    """Return the refusal of a call, or the end of a stream, whose token has expired."""
    text = "the token has expired"
    return Unauthenticated(text, reason="TOKEN_EXPIRED", metadata={"claim": "exp"})


def _invalid(fault: str, claim: str | None) -> Unauthenticated:
    text, metadata = f"the token is not valid: {fault}", {"claim": claim} if claim else None
    return Unauthenticated(text, reason="TOKEN_INVALID", metadata=metadata)


def _claim_at_fault(error: Exception) -> str | None:
    """Return the claim that PyJWT refused; None where the token itself is at fault."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return str(error.claim)
    for kind, claim in _CLAIMS.items():
        if isinstance(error, kind):
            return claim
    named = _CLAIM_IN_TEXT.search(str(error))
    return named[1] if named else None


def _caller_of(claims: Mapping[str, Any], leeway_seconds: float) -> Caller:
    scope = claims.get("scope")
    if not isinstance(scope, str | None):
        raise _invalid("its claim scope is not a text", "scope")
    tenant = None if claims.get("tenant_id") is None else _uuid(claims, "tenant_id")
    # PyJWT has made sure that `exp` is a number; it may be one that no float can hold.
    expires_at = min(int(claims["exp"]), FAR_FUTURE) + leeway_seconds
    return Caller(_uuid(claims, "sub"), tenant, frozenset((scope or "").split()), expires_at)


def _uuid(claims: Mapping[str, Any], name: str) -> UUID:
    value = claims[name]
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise _invalid(f"its claim {name} is not a UUID", name) from None


def _token_in(authorization: str | bytes) -> str:
    text = (
        authorization.decode("ascii", "replace")
        if isinstance(authorization, bytes)
        else authorization
    )
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token:
        how = "send the metadata `authorization: Bearer <token>`"
        raise Unauthenticated(how, reason="TOKEN_MISSING")
    return token


class _KeySet:
    """The keys of an issuer, by their ids.

    Known keys stay in use while they are read again and while the issuer does not answer. A key
    that is not known has them read at once, by one call for all that wait, not more often than
    the cooldown says.
    """

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_SECONDS)
        self._keys: dict[str, Any] = {}
        self._read_at = self._tried_at = -math.inf
        self._reading: asyncio.Task[None] | None = None

    async def find(self, token: str) -> Any:
        """Return the key that signed a token; raise Unavailable while nobody knows."""
        key_id = str(jwt.get_unverified_header(token).get("kid", ""))
        now = time.monotonic()
        if key_id not in self._keys:
            if self._reading or now - self._tried_at > COOLDOWN_SECONDS:
                await asyncio.shield(self._read_soon())
        elif now - self._read_at > KEYS_SECONDS and now - self._tried_at > COOLDOWN_SECONDS:
            self._read_soon()
        if key_id in self._keys:
            return self._keys[key_id]
        if self._read_at < self._tried_at:
            text = "the keys that tokens are signed with cannot be read"
            raise Unavailable(text, reason="KEYS_UNAVAILABLE", retry_seconds=COOLDOWN_SECONDS)
        text = "the token is not valid: no key of the issuer has its kid"
        raise Unauthenticated(text, reason="TOKEN_INVALID")

    def _read_soon(self) -> asyncio.Task[None]:
        """Read the keys, unless that is under way; return the task that does."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> None:
        self._tried_at = time.monotonic()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                # PyJWT's client blocks, hence the thread.
                keys = await asyncio.to_thread(self._client.get_signing_keys)
            self._keys = {key.key_id or "": key.key for key in keys}
            self._read_at = self._tried_at
        except (jwt.PyJWTError, OSError, ValueError) as error:
            _log.warning("the issuer's keys cannot be read", error=type(error).__name__)
        finally:
            self._reading = None


def _key_source(settings: ServiceSettings) -> Callable[[str], Awaitable[Any]]:
    if settings.auth_jwks_url:
        return _KeySet(settings.auth_jwks_url).find
    if not settings.auth_public_key:
        raise SettingsError("set PROSPECT_AUTH_PUBLIC_KEY or PROSPECT_AUTH_JWKS_URL")

    async def fixed(token: str) -> Any:
        return settings.auth_public_key

    return fixed
