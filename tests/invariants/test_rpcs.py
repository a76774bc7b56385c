"""Every RPC of every service, found from the contracts, needs a token and its scope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from devstack.stack import ALL_SCOPES, AUDIT_SCOPES
from services.cli.operate.services import ServiceName
from tests.harness import Identity, error_info
from tests.invariants.rpcs import EVERY_RPC, call_of, first_answer

EVERY_SCOPE = f"{ALL_SCOPES} {AUDIT_SCOPES}"


async def refusal_of(
    channel: grpc.aio.Channel, method: MethodDescriptor, metadata: Any
) -> grpc.aio.AioRpcError | None:
    """Call an RPC with an empty request; return how it is refused, None where it answers."""
    request = unsent() if method.client_streaming else GetMessageClass(method.input_type)()
    call = call_of(channel, method, request, metadata)
    try:
        async with asyncio.timeout(5):
            await first_answer(call)
    except grpc.aio.AioRpcError as error:
        return error
    except TimeoutError:  # a stream that waits for its first request, or for news
        return None
    finally:
        call.cancel()
    return None


async def unsent() -> AsyncIterator[object]:
    """Send nothing: grpc.aio may tell of a write that failed, not of the refusal that came first.

    https://github.com/grpc/grpc/issues/36066
    """
    await asyncio.Event().wait()
    yield None


def missing_scope(error: grpc.aio.AioRpcError | None) -> str:
    """Return the scope that a refusal names."""
    assert error is not None
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    info = error_info(error)
    assert info.reason == "SCOPE_REQUIRED"
    return str(info.metadata["scope"])


@EVERY_RPC
async def test_no_rpc_is_served_without_a_token(
    channel: grpc.aio.Channel, name: ServiceName, method: MethodDescriptor
) -> None:
    error = await refusal_of(channel, method, ())
    assert error is not None
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@EVERY_RPC
async def test_an_rpc_needs_one_scope_of_its_service_and_says_which(
    channel: grpc.aio.Channel, ours: Identity, name: ServiceName, method: MethodDescriptor
) -> None:
    scope = missing_scope(await refusal_of(channel, method, ours.metadata("")))
    assert scope.startswith(f"{name}:")
    others = " ".join(set(EVERY_SCOPE.split()) - {scope})
    assert missing_scope(await refusal_of(channel, method, ours.metadata(others))) == scope
