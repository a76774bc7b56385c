"""Who may call what: the token decides, and says so when it does not."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from services.cli.operate.services import ServiceName
from tests.harness import Identity, Services, error_info

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub


@pytest.fixture
async def activity(services: Services) -> AsyncIterator[ActivityServiceAsyncStub]:
    async with services.running(ServiceName.ACTIVITY) as channel:
        yield grpc_api.ActivityServiceStub(channel)


async def refusal(
    activity: ActivityServiceAsyncStub, metadata: tuple[tuple[str, str], ...] | None
) -> tuple[grpc.StatusCode, str]:
    """Return the status and the reason of a refused call."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)
    return refused.value.code(), error_info(refused.value).reason


async def test_a_call_without_a_token_is_unauthenticated(
    activity: ActivityServiceAsyncStub,
) -> None:
    assert await refusal(activity, None) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_an_expired_token_is_unauthenticated(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    metadata = ours.metadata(lifetime=timedelta(seconds=-1))
    assert await refusal(activity, metadata) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_token_of_another_key_is_unauthenticated(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    forged = Identity(Ed25519PrivateKey.generate(), ours.tenant_id, ours.user_id)
    code, reason = await refusal(activity, forged.metadata())
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_text_that_is_no_token_is_unauthenticated(
    activity: ActivityServiceAsyncStub,
) -> None:
    code, reason = await refusal(activity, (("authorization", "Bearer nonsense"),))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_a_token_without_the_scope_is_denied(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    metadata = ours.metadata("activity:write")
    assert await refusal(activity, metadata) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "SCOPE_REQUIRED",
    )


async def test_a_tenants_token_cannot_audit_across_tenants(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.ListDayDigests(
            pb.ListDayDigestsRequest(date="2026-01-01"), metadata=ours.metadata()
        )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


class Issuer:
    """How often key sets were asked for, and whether they are given."""

    asked = 0
    is_well = True


@contextmanager
def jwks(key: Ed25519PrivateKey) -> Iterator[str]:
    """Serve a key set with one key, as an identity provider does."""
    public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    body = json.dumps({"keys": [public | {"kid": "one", "use": "sig", "alg": "EdDSA"}]}).encode()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            Issuer.asked += 1
            self.send_response(200 if Issuer.is_well else 503)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Keys)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_token_is_checked_against_the_issuers_key_set(
    services: Services, ours: Identity
) -> None:
    claims = jwt.decode(ours.metadata()[0][1].split()[1], options={"verify_signature": False})
    known, unknown = (
        jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "one"})
        for key in (ours.key, Ed25519PrivateKey.generate())
    )
    with jwks(ours.key) as url:
        async with services.running(ServiceName.ACTIVITY, auth_jwks_url=url) as channel:
            stub = grpc_api.ActivityServiceStub(channel)
            good = (("authorization", f"Bearer {known}"),)
            assert await stub.ListActivities(pb.ListActivitiesRequest(), metadata=good)
            forged = (("authorization", f"Bearer {unknown}"),)
            code, reason = await refusal(stub, forged)
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_a_clock_that_is_a_little_behind_refuses_nobody(
    services: Services, ours: Identity
) -> None:
    metadata = ours.metadata(lifetime=timedelta(seconds=-10))
    async with services.running(ServiceName.ACTIVITY, auth_leeway_seconds=30) as channel:
        stub = grpc_api.ActivityServiceStub(channel)
        assert await stub.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)


def with_claims(who: Identity, **claims: object) -> tuple[tuple[str, str], ...]:
    """Return a token of this user with other claims, signed all the same."""
    token = who.metadata()[0][1].split()[1]
    own = jwt.decode(token, options={"verify_signature": False})
    changed = jwt.encode(own | claims, who.key, algorithm="EdDSA")
    return (("authorization", f"Bearer {changed}"),)


@pytest.mark.parametrize("claim", ["sub", "tenant_id"])
async def test_a_claim_that_is_no_id_is_named(
    activity: ActivityServiceAsyncStub, ours: Identity, claim: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=claim) as refused:
        await activity.ListActivities(
            pb.ListActivitiesRequest(), metadata=with_claims(ours, **{claim: "someone"})
        )
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_that_ends_after_the_last_day_of_the_calendar_is_taken(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    metadata = with_claims(ours, exp=10**400)
    assert await activity.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)


async def test_an_expiry_that_is_no_number_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    code, _ = await refusal(activity, with_claims(ours, exp=float("inf")))
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_ends_when_its_token_expires(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    tail = activity.TailActivities(
        pb.TailActivitiesRequest(), metadata=ours.metadata(lifetime=timedelta(seconds=2))
    )
    async with asyncio.timeout(20):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in tail:
                pass
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == "the token has expired"


async def test_a_stream_of_requests_ends_when_its_token_expires(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    stream: Any = activity.StreamActivities(metadata=ours.metadata(lifetime=timedelta(seconds=1)))
    async with asyncio.timeout(20):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in stream:
                pass
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == "the token has expired"


def signed_by(who: Identity, key_id: str) -> tuple[tuple[str, str], ...]:
    """Return a token of this user that names its key."""
    token = who.metadata()[0][1].split()[1]
    claims = jwt.decode(token, options={"verify_signature": False})
    named = jwt.encode(claims, who.key, algorithm="EdDSA", headers={"kid": key_id})
    return (("authorization", f"Bearer {named}"),)


async def test_keys_that_are_known_stay_in_use_while_the_issuer_is_away(
    services: Services, ours: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.auth.KEYS_SECONDS", 0)
    monkeypatch.setattr("chassis.auth.TRUST_SECONDS", 0)
    monkeypatch.setattr("chassis.auth.COOLDOWN_SECONDS", 0)
    with jwks(ours.key) as url:
        async with services.running(ServiceName.ACTIVITY, auth_jwks_url=url) as channel:
            stub, metadata = grpc_api.ActivityServiceStub(channel), signed_by(ours, "one")
            await stub.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)
            Issuer.is_well = False
            try:
                for _ in range(3):
                    await stub.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)
            finally:
                Issuer.is_well = True


async def test_while_keys_cannot_be_read_a_call_may_be_tried_again(
    services: Services, ours: Identity
) -> None:
    url = "http://127.0.0.1:1/keys"
    async with services.running(ServiceName.ACTIVITY, auth_jwks_url=url) as channel:
        code, reason = await refusal(grpc_api.ActivityServiceStub(channel), signed_by(ours, "one"))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE")


async def test_an_issuer_that_hangs_holds_up_no_call_for_long(
    services: Services, ours: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.auth.FETCH_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/keys"
        async with services.running(ServiceName.ACTIVITY, auth_jwks_url=url) as channel:
            stub = grpc_api.ActivityServiceStub(channel)
            async with asyncio.timeout(30):
                answers = await asyncio.gather(
                    *(refusal(stub, signed_by(ours, key_id)) for key_id in "abcdefgh")
                )
    assert {code for code, _ in answers} == {grpc.StatusCode.UNAVAILABLE}


async def test_a_key_that_the_issuer_does_not_have_is_asked_for_once_a_cooldown(
    services: Services, ours: Identity
) -> None:
    with jwks(ours.key) as url:
        async with services.running(ServiceName.ACTIVITY, auth_jwks_url=url) as channel:
            stub, before = grpc_api.ActivityServiceStub(channel), Issuer.asked
            for key_id in "abcdefgh":
                code, reason = await refusal(stub, signed_by(ours, key_id))
                assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert Issuer.asked == before + 1
