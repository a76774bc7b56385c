"""A token, checked: which it must be, whose it is, and how long it is trusted without a look."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import auth
from chassis.auth import Caller, Verify, current_caller, set_caller, verifier
from chassis.clock import utc_now
from chassis.errors import PermissionDenied, Unauthenticated
from chassis.settings import ServiceSettings, SettingsError

KEY = Ed25519PrivateKey.generate()
PEM = (
    KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
USER, TENANT = uuid.UUID(int=1), uuid.UUID(int=2)
EXPIRES = (utc_now().replace(microsecond=0) + timedelta(days=1)).timestamp()


def settings(**values: Any) -> ServiceSettings:
    given: dict[str, Any] = {"postgres_dsn": "x", "nats_url": "x", "auth_public_key": PEM}
    return ServiceSettings(**(given | {"auth_leeway_seconds": 0} | values))


def a_token(**claims: Any) -> str:
    """Return a token with these claims changed; None leaves one out."""
    given = {
        "sub": str(USER), "tenant_id": str(TENANT), "scope": "a:read a:write", "iss": "prospect",
        "aud": "prospect", "exp": EXPIRES,
    } | claims  # fmt: skip
    kept = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(kept, KEY, algorithm="EdDSA")


@pytest.fixture
def verify() -> Verify:
    return verifier(settings())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was checked."""
    tokens: list[str] = []
    decode = jwt.decode

    def noted(token: str, *values: Any, **options: Any) -> Any:
        tokens.append(token)
        return decode(token, *values, **options)

    monkeypatch.setattr(jwt, "decode", noted)
    return tokens


async def reason_of(verify: Verify, authorization: str | bytes | None) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await verify(authorization)
    return refused.value.reason


async def test_a_token_says_user_tenant_and_scopes(verify: Verify) -> None:
    caller = await verify(f"Bearer {a_token()}")
    assert caller == Caller(USER, TENANT, frozenset({"a:read", "a:write"}), EXPIRES)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
async def test_the_scheme_may_stand_in_any_case_and_come_as_bytes(
    verify: Verify, scheme: str
) -> None:
    assert (await verify(f"{scheme} {a_token()}".encode())).user_id == USER


async def test_a_token_without_a_tenant_or_scopes_may_do_nothing(verify: Verify) -> None:
    caller = await verify(f"Bearer {a_token(tenant_id=None, scope=None)}")
    assert caller == Caller(USER, None, frozenset(), EXPIRES)
    with pytest.raises(PermissionDenied) as refused:
        _ = caller.tenant_id
    assert refused.value.reason == "TENANT_REQUIRED"


async def test_a_caller_has_the_scopes_of_its_token_only(verify: Verify) -> None:
    caller = await verify(f"Bearer {a_token()}")
    caller.require("a:write")
    with pytest.raises(PermissionDenied) as refused:
        caller.require("b:read")
    assert (refused.value.reason, refused.value.metadata) == ("SCOPE_REQUIRED", {"scope": "b:read"})
    assert refused.value.message == "the token lacks the scope b:read"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic abc", b"\xff"])
async def test_metadata_without_a_token_are_refused(
    verify: Verify, authorization: str | bytes | None
) -> None:
    assert await reason_of(verify, authorization) == "TOKEN_MISSING"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "other"}, {"aud": "other"}, {"iss": None}, {"aud": None}, {"exp": None},
        {"sub": None}, {"sub": "ada"}, {"tenant_id": "acme"}, {"tenant_id": 7},
    ],
)  # fmt: skip
async def test_a_token_of_another_issuer_or_without_a_claim_is_refused(
    verify: Verify, claims: dict[str, Any]
) -> None:
    assert await reason_of(verify, f"Bearer {a_token(**claims)}") == "TOKEN_INVALID"


@pytest.mark.parametrize("claim", ["sub", "tenant_id"])
async def test_a_claim_that_is_no_uuid_is_named(verify: Verify, claim: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await verify(f"Bearer {a_token(**{claim: 'ada'})}")
    assert refused.value.metadata == {"claim": claim}


async def test_a_token_that_has_expired_is_refused_as_such(verify: Verify) -> None:
    past = int(utc_now().timestamp()) - 5
    assert await reason_of(verify, f"Bearer {a_token(exp=past)}") == "TOKEN_EXPIRED"


async def test_clocks_may_differ_by_the_leeway() -> None:
    verify = verifier(settings(auth_leeway_seconds=30))
    past = int(utc_now().timestamp()) - 5
    assert (await verify(f"Bearer {a_token(exp=past)}")).expires_at == past + 30
    earlier = past - 30
    assert await reason_of(verify, f"Bearer {a_token(exp=earlier)}") == "TOKEN_EXPIRED"


async def test_issuer_and_audience_are_those_of_the_settings() -> None:
    verify = verifier(settings(auth_issuer="us", auth_audience="them"))
    assert (await verify(f"Bearer {a_token(iss='us', aud='them')}")).user_id == USER
    assert await reason_of(verify, f"Bearer {a_token()}") == "TOKEN_INVALID"


async def test_an_algorithm_that_is_not_ours_is_refused(verify: Verify) -> None:
    symmetric = jwt.encode({"sub": str(USER)}, "k" * 32, algorithm="HS256")
    assert await reason_of(verify, f"Bearer {symmetric}") == "TOKEN_INVALID"


async def test_a_signature_is_checked_once(verify: Verify, decoded: list[str]) -> None:
    token = a_token()
    assert await verify(f"Bearer {token}") is await verify(f"Bearer {token}")
    assert decoded == [token]


@pytest.mark.parametrize(("lifetime", "trusted"), [(3_600, 300), (60, 60)])
async def test_a_signature_is_checked_again_after_five_minutes_or_when_it_expires(
    verify: Verify,
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    lifetime: int,
    trusted: int,
) -> None:
    began = now = utc_now().replace(microsecond=0)
    monkeypatch.setattr(auth, "utc_now", lambda: now)
    exp = (began + timedelta(seconds=lifetime)).timestamp()
    authorization = f"Bearer {a_token(exp=exp)}"
    await verify(authorization)
    now = began + timedelta(seconds=trusted - 0.001)
    await verify(authorization)
    assert len(decoded) == 1
    now = began + timedelta(seconds=trusted)
    await verify(authorization)
    assert len(decoded) == 2


@pytest.mark.parametrize(("limit", "value"), [("KNOWN_TOKENS", 2), ("KNOWN_TOKENS_BYTES", 900)])
async def test_the_oldest_token_is_forgotten_where_there_are_too_many(
    verify: Verify,
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
) -> None:
    monkeypatch.setattr(auth, limit, value)
    first, second, third = (f"Bearer {a_token(scope=str(n))}" for n in range(3))
    for each in (first, second, third):
        await verify(each)
    await verify(second)
    await verify(third)
    assert len(decoded) == 3
    await verify(first)
    assert len(decoded) == 4


def test_without_a_key_nothing_starts() -> None:
    with pytest.raises(SettingsError, match="PROSPECT_AUTH_PUBLIC_KEY or PROSPECT_AUTH_JWKS_URL"):
        verifier(settings(auth_public_key=""))


def test_the_caller_of_a_call_is_the_one_that_was_set() -> None:
    caller = Caller(USER, TENANT, frozenset())
    set_caller(caller)
    assert current_caller() is caller


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("exp", "soon"),
        ("exp", []),
        ("exp", None),
        ("exp", float("inf")),
        ("nbf", "later"),
        ("nbf", 10**12),
        ("iat", {}),
        ("iat", 10**12),
        ("iss", ["prospect"]),
        ("iss", "somebody"),
        ("iss", None),
        ("aud", 7),
        ("aud", ["prospect", 7]),
        ("aud", "something"),
        ("aud", None),
        ("sub", 7),
        ("sub", "someone"),
        ("sub", None),
        ("jti", 7),
        ("tenant_id", ""),
        ("tenant_id", 10**31),
        ("tenant_id", ["x"]),
        ("scope", ["a:read", "a:write"]),
        ("scope", 7),
    ],
)
async def test_each_claim_that_is_wrong_is_named(verify: Verify, claim: str, value: object) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await verify(f"Bearer {signed(claim, value)}")
    assert refused.value.reason == "TOKEN_INVALID"
    assert refused.value.metadata == {"claim": claim}


def signed(claim: str, value: object) -> str:
    """Return a token with one claim changed, whatever it is; PyJWT would refuse to sign some."""
    given = jwt.decode(a_token(), options={"verify_signature": False}) | {claim: value}
    payload = json.dumps({name: each for name, each in given.items() if each is not None})
    return jwt.api_jws.encode(payload.encode(), KEY, algorithm="EdDSA")


async def test_the_claim_that_has_passed_is_named(verify: Verify) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await verify(f"Bearer {a_token(exp=1)}")
    assert (refused.value.reason, refused.value.metadata) == ("TOKEN_EXPIRED", {"claim": "exp"})
