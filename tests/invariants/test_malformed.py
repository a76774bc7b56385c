"""Bytes that are no message: every RPC of every service answers INVALID_ARGUMENT, in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.error_details_pb2 import ErrorInfo

from devstack.stack import ALL_SCOPES, AUDIT_SCOPES
from services.cli.operate.services import ServiceName
from tests.harness import Identity, detail
from tests.invariants.rpcs import EVERY_RPC, first_answer

TYPED = b"ada@engines.example"
MALFORMED = {
    "no tag": b"\xff\xff",
    "cut off": b"\x0a\x7f" + TYPED,
    "an end of no group": b"\x0c" + TYPED,
    "a field 0": b"\x02\x13" + TYPED,
}


def raw_call(
    channel: grpc.aio.Channel, path: str, method: MethodDescriptor, body: bytes, metadata: Any
) -> Any:
    """Call an RPC with these bytes as its request, or as the first of its stream."""

    async def once() -> AsyncIterator[bytes]:
        yield body
        await asyncio.Event().wait()  # the stream stays open: its refusal must not wait for more

    sending = "stream" if method.client_streaming else "unary"
    answering = "stream" if method.server_streaming else "unary"
    begin: Any = getattr(channel, f"{sending}_{answering}")(path)
    return begin(once() if method.client_streaming else body, metadata=metadata)


@EVERY_RPC
async def test_bytes_that_are_no_message_are_refused_without_a_trace(
    channel: grpc.aio.Channel,
    ours: Identity,
    name: ServiceName,
    method: MethodDescriptor,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = ours.metadata(f"{ALL_SCOPES} {AUDIT_SCOPES}")
    for body in MALFORMED.values():
        call = raw_call(channel, path, method, body, metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async with asyncio.timeout(30):
                await first_answer(call)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert detail(refused.value, ErrorInfo).reason == "MALFORMED"
    told = "".join(capfd.readouterr())
    assert "Traceback" not in told
    assert TYPED.decode() not in told
    assert told.count("\n") <= 2 * len(MALFORMED)
