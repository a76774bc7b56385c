"""Who may call what: the token decides, and says so when it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from services.cli.catalogue import ServiceName
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
