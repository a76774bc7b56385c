"""Calls of every RPC with drawn requests, and what is wrong with how one was answered."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from devstack.stack import ROOT
from services.cli.operate.services import ServiceName
from tests.fuzz.messages import Generator
from tests.invariants.rpcs import rpcs_of

HANG_SECONDS = 20.0
READ_SECONDS = 0.5
"""How long a stream of answers is read."""
MAX_READ = 20
REASONS = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/errors.md").read_text(), re.M))
WITHOUT_REASON = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
OF_GRPC = ("Internal error from Core", "SERVER: Received message larger than max")
"""What gRPC itself answers: a Python client whose stream was refused while it still wrote
(grpc/grpc#36066), and a server that reads the length of a message and nothing else of it."""
NEVER = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
}
Metadata = tuple[tuple[str, str], ...]
METHODS = [(name, method) for name in ServiceName for method in rpcs_of(name)]


class Caller:
    """Calls RPCs, counts the answers by status, and keeps a request of each fault."""

    def __init__(
        self,
        channels: Mapping[ServiceName, grpc.aio.Channel],
        generator: Generator,
        callers: list[Metadata],
    ) -> None:
        self._channels = channels
        self._generator = generator
        self._callers = callers
        self.statuses: Counter[str] = Counter()
        self.faults: dict[str, str] = {}

    async def call_any(self) -> None:
        """Draw an RPC, a caller and a request, and call."""
        name, method = self._generator.chosen(METHODS)
        bodies = [self._generator.request(method)]
        if method.client_streaming:
            bodies += [
                self._generator.request(method) for _ in range(self._generator.chosen((0, 1, 3)))
            ]
        metadata = self._generator.chosen(self._callers)
        try:
            async with asyncio.timeout(HANG_SECONDS):
                status = await self._call(self._channels[name], method, bodies, metadata)
        except TimeoutError:
            status = "hang"
            self._fault(method, bodies, f"no answer in {HANG_SECONDS:.0f} s")
        self.statuses[status] += 1

    async def _call(
        self,
        channel: grpc.aio.Channel,
        method: MethodDescriptor,
        bodies: list[bytes],
        metadata: Metadata,
    ) -> str:
        call = _begin(channel, method, bodies, metadata)
        try:
            await self._read(call, method)
        except grpc.aio.AioRpcError as error:
            if fault := fault_of(error):
                self._fault(method, bodies, fault)
            return error.code().name
        finally:
            call.cancel()
        return "OK"

    async def _read(self, call: Any, method: MethodDescriptor) -> None:
        """Read an answer; of a stream some, since one that tells of news never ends."""
        if not method.server_streaming:
            self._generator.learn(await call)
            return
        try:
            async with asyncio.timeout(READ_SECONDS):
                for _ in range(MAX_READ):
                    response = await call.read()
                    if response is grpc.aio.EOF:
                        if await call.code() is not grpc.StatusCode.OK:
                            raise await _error_of(call)
                        return
                    self._generator.learn(response)
        except TimeoutError:
            return

    def _fault(self, method: MethodDescriptor, bodies: list[bytes], what: str) -> None:
        kind = GetMessageClass(method.input_type)
        shown = "\n".join(_shown(kind, body) for body in bodies)
        self.faults.setdefault(f"{method.name}: {what}", shown)


def fault_of(error: grpc.aio.AioRpcError) -> str:
    """Return what is wrong with a refusal, empty where it is well formed."""
    code = error.code()
    if code in WITHOUT_REASON or (error.details() or "").startswith(OF_GRPC):
        return ""
    fault = "should never be told" if code in NEVER else _fault_of_details(error)
    return fault and f"{fault}: {code.name}: {(error.details() or '')[:200]}"


def _fault_of_details(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for each in status.details if status else ():
        each.Unpack(info)
        each.Unpack(bad)
    if info.reason not in REASONS:
        return f"the reason {info.reason!r} is not in docs/errors.md"
    if info.reason == "INVALID_ARGUMENT" and not bad.field_violations:
        return "no BadRequest"
    if not all(each.field and each.description for each in bad.field_violations):
        return "a violation names no field"
    waits = error.code() is grpc.StatusCode.UNAVAILABLE
    if waits and not any(each.TypeName() == "google.rpc.RetryInfo" for each in status.details):
        return "no RetryInfo"
    return ""


def _begin(
    channel: grpc.aio.Channel, method: MethodDescriptor, bodies: list[bytes], metadata: Metadata
) -> Any:
    """Begin a call whose requests are bytes already."""
    kind = "_".join(
        "stream" if streaming else "unary"
        for streaming in (method.client_streaming, method.server_streaming)
    )
    begin = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=None,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    request = _each(bodies) if method.client_streaming else bodies[0]
    return begin(request, metadata=metadata, timeout=HANG_SECONDS - 5)


async def _each(bodies: list[bytes]) -> AsyncIterator[bytes]:
    for body in bodies:
        yield body


async def _error_of(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        details=await call.details(),
    )


def _shown(kind: Any, body: bytes) -> str:
    try:
        text = str(kind.FromString(body))
    except Exception:
        text = body.hex()
    return text if len(text) < 600 else f"{text[:600]}… ({len(body)} bytes)"
