"""The limit of a call: an empty method of a grpc.aio server, in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import uvloop
from google.protobuf.message import Message

from devstack import servers
from devstack.stack import ROOT

METHOD = "/benchmark.Empty/Call"


async def serve(port: int) -> None:
    """Answer every call with nothing."""

    async def call(request: bytes, context: Any) -> bytes:
        return b""

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(call)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("benchmark.Empty", {"Call": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


@asynccontextmanager
async def empty_server() -> AsyncIterator[Callable[..., Awaitable[bytes]]]:
    """Yield a function that calls the empty method with a message."""
    port = servers.free_port()
    process = subprocess.Popen(  # noqa: ASYNC220 -- before anything is measured
        [*servers.guard(), sys.executable, "-m", "tests.benchmarks.empty", str(port)], cwd=ROOT
    )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: Any = channel.unary_unary(METHOD, request_serializer=Message.SerializeToString)
            await asyncio.wait_for(channel.channel_ready(), 20)
            yield method
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
