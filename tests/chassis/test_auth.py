"""Who may call what: the token decides, and says so when it does not."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from services.cli.operate.services import ServiceName
from tests.harness import Identity, Services

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
    status = rpc_status.from_call(refused.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return refused.value.code(), info.reason


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


@contextmanager
def jwks(key: Ed25519PrivateKey) -> Iterator[str]:
    """Serve a key set with one key, as an identity provider does."""
    public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    body = json.dumps({"keys": [public | {"kid": "one", "use": "sig", "alg": "EdDSA"}]}).encode()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
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
