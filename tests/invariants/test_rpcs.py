"""Every RPC of every service, found from the contracts, needs a token and its scope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from devstack.stack import ALL_SCOPES, AUDIT_SCOPES
from services.cli.operate.services import ServiceName
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Identity, Services

EVERY_SCOPE = f"{ALL_SCOPES} {AUDIT_SCOPES}"


def rpcs_of(name: ServiceName) -> list[MethodDescriptor]:
    contract = import_module(f"prospect.{name}.v1.{name}_service_pb2").DESCRIPTOR
    return list(contract.services_by_name[f"{name.capitalize()}Service"].methods)


EVERY_RPC = [
    pytest.param(name, method, id=method.name) for name in ServiceName for method in rpcs_of(name)
]


@pytest.fixture
async def channel(
    request: pytest.FixtureRequest, services: Services
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service whose RPC is tried."""
    name: ServiceName = request.node.callspec.params["name"]
    async with services.running(name, **settings_of(name, services)) as channel:
        yield channel


def settings_of(name: ServiceName, services: Services) -> dict[str, Any]:
    """Return the settings that a service needs to start; nobody answers behind it."""
    if name is ServiceName.ENRICHMENT:
        return sandbox_settings("http://127.0.0.1:1")
    if name is ServiceName.ACTIVITY:
        return {}
    return {
        "activity_address": "127.0.0.1:1",
        "activity_token_file": services.audit_token_file(),
    }


async def refusal_of(
    channel: grpc.aio.Channel, method: MethodDescriptor, metadata: Any
) -> grpc.aio.AioRpcError | None:
    """Call an RPC with an empty request; return how it is refused, None where it answers."""
    kind = "_".join(
        "stream" if streaming else "unary"
        for streaming in (method.client_streaming, method.server_streaming)
    )
    request = GetMessageClass(method.input_type)
    call = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )(unsent() if method.client_streaming else request(), metadata=metadata)
    try:
        async with asyncio.timeout(5):
            await (anext(aiter(call), None) if method.server_streaming else call)
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
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert info.reason == "SCOPE_REQUIRED"
    return str(info.metadata["scope"])


@pytest.mark.parametrize(("name", "method"), EVERY_RPC)
async def test_no_rpc_is_served_without_a_token(
    channel: grpc.aio.Channel, name: ServiceName, method: MethodDescriptor
) -> None:
    error = await refusal_of(channel, method, ())
    assert error is not None
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(("name", "method"), EVERY_RPC)
async def test_an_rpc_needs_one_scope_of_its_service_and_says_which(
    channel: grpc.aio.Channel, ours: Identity, name: ServiceName, method: MethodDescriptor
) -> None:
    scope = missing_scope(await refusal_of(channel, method, ours.metadata("")))
    assert scope.startswith(f"{name}:")
    others = " ".join(set(EVERY_SCOPE.split()) - {scope})
    assert missing_scope(await refusal_of(channel, method, ours.metadata(others))) == scope
