"""The keys of an issuer: found by their ids, read again when they are old or one is not known."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from chassis import auth
from chassis.auth import Verify, verifier
from chassis.clock import utc_now
from chassis.errors import Unauthenticated, Unavailable
from chassis.settings import ServiceSettings

FIRST, SECOND = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
USER = uuid.UUID(int=1)


def settings(url: str) -> ServiceSettings:
    given: dict[str, Any] = {"postgres_dsn": "x", "nats_url": "x", "auth_jwks_url": url}
    return ServiceSettings(**given)


def signed(key: Ed25519PrivateKey, key_id: str | None = None) -> str:
    """Return the metadata of a token that no other call has."""
    expires = (utc_now() + timedelta(hours=1)).timestamp()
    claims = {"sub": str(USER), "iss": "prospect", "aud": "prospect", "exp": int(expires)}
    headers = {"kid": key_id} if key_id is not None else None
    unlike = claims | {"jti": uuid.uuid4().hex}
    return f"Bearer {jwt.encode(unlike, key, algorithm='EdDSA', headers=headers)}"


class Issuer:
    """Which keys it has, by their ids, and how often it was asked for them."""

    def __init__(self) -> None:
        self.keys: dict[str, Ed25519PrivateKey] = {}
        self.asked = 0

    def answer(self) -> Any:
        self.asked += 1
        return {"keys": [_public(key, key_id) for key_id, key in self.keys.items()]}


def _public(key: Ed25519PrivateKey, key_id: str) -> dict[str, str]:
    public: dict[str, str] = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    return public | {"kid": key_id, "use": "sig", "alg": "EdDSA"}


async def is_known(verify: Verify, key: Ed25519PrivateKey, key_id: str) -> bool:
    try:
        await verify(signed(key, key_id))
    except Unauthenticated:
        return False
    return True


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Issuer:
    issuer = Issuer()
    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", lambda _: issuer.answer())
    return issuer


@pytest.fixture
def verify(issuer: Issuer) -> Verify:
    return verifier(settings("http://issuer.example/keys"))


async def test_a_token_that_names_no_key_is_refused(issuer: Issuer, verify: Verify) -> None:
    issuer.keys = {"one": FIRST}
    with pytest.raises(Unauthenticated, match="no key of the issuer has its kid"):
        await verify(signed(FIRST))


async def test_calls_that_wait_for_a_key_share_one_reading(issuer: Issuer, verify: Verify) -> None:
    issuer.keys = {"one": FIRST}
    callers = await asyncio.gather(*(verify(signed(FIRST, "one")) for _ in range(5)))
    assert {caller.user_id for caller in callers} == {USER}
    assert issuer.asked == 1


async def test_a_new_key_of_the_issuer_is_found_after_the_cooldown(
    issuer: Issuer, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.keys = {"one": FIRST}
    await verify(signed(FIRST, "one"))
    issuer.keys = {"two": SECOND}
    with pytest.raises(Unauthenticated, match="no key of the issuer has its kid"):
        await verify(signed(SECOND, "two"))
    monkeypatch.setattr(auth, "COOLDOWN_SECONDS", -1)
    assert (await verify(signed(SECOND, "two"))).user_id == USER


async def test_keys_that_are_old_are_read_again_and_one_withdrawn_is_refused(
    issuer: Issuer, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.keys = {"one": FIRST}
    await verify(signed(FIRST, "one"))
    issuer.keys = {"two": SECOND}
    await verify(signed(FIRST, "one"))
    assert issuer.asked == 1
    monkeypatch.setattr(auth, "KEYS_SECONDS", -1)
    monkeypatch.setattr(auth, "COOLDOWN_SECONDS", -1)
    async with asyncio.timeout(20):
        while await is_known(verify, FIRST, "one"):  # the keys are read beside these calls
            await asyncio.sleep(0.001)


async def test_an_issuer_that_cannot_be_read_makes_the_call_come_again_after_the_cooldown(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: jwt.PyJWKClient) -> None:
        raise jwt.PyJWKClientError("away")

    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", fails)
    with capture_logs() as logged, pytest.raises(Unavailable) as refused:
        await verify(signed(FIRST, "one"))
    assert [each["error"] for each in logged] == ["PyJWKClientError"]
    assert refused.value.reason == "KEYS_UNAVAILABLE"
    assert refused.value.retry_seconds == auth.COOLDOWN_SECONDS


async def test_an_issuer_that_hangs_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "FETCH_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)
        verify = verifier(settings(f"http://127.0.0.1:{silent.getsockname()[1]}/keys"))
        with pytest.raises(Unavailable):
            await verify(signed(FIRST, "one"))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            connection, _ = await loop.sock_accept(silent)
            with connection:
                connection.setblocking(False)
                while await loop.sock_recv(connection, 4096):
                    pass
