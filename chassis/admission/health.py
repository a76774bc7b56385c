"""The health of the service, which anybody may ask for without a token.

So the calls are bounded, and the newest is always answered: probes go on while somebody opens
calls and sends nothing. The servicer of grpcio-health-checking would write to its watchers under
a lock: one that reads nothing would hold up the service's own word on its health.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from prometheus_client import Gauge

MAX_CHECKS = 64
MAX_WATCHES = 1_000
POSTGRES, NATS = "postgres", "nats"
_SERVING, _NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
WELL = Gauge("prospect_serving", "1 where the service or the part of it is well", ("name",))
Context = grpc.aio.ServicerContext[Any, Any]


class Health:
    """Answers health checks of the service and its parts.

    "" is the process itself, which serves until it stops.
    """

    def __init__(self, seconds: float) -> None:
        """A check must have been asked within `seconds`."""
        self._seconds = seconds
        self._statuses: dict[str, HealthCheckResponse.ServingStatus] = {
            "": HealthCheckResponse.SERVING
        }
        self._stopping = False
        self._changed = asyncio.Event()
        self._checks, self._watches = _Newest(MAX_CHECKS), _Newest(MAX_WATCHES)

    def register(self, server: grpc.aio.Server) -> None:
        """Serve grpc.health.v1.Health."""
        encode = HealthCheckResponse.SerializeToString
        check: Any = grpc.stream_unary_rpc_method_handler(self._check, None, encode)
        watch: Any = grpc.stream_stream_rpc_method_handler(self._watch, None, encode)
        # grpc.aio takes one call of all others at each turn of its loop, but a registered method's
        # beside them: under load a check would stand in line for a second and more.
        server.add_registered_method_handlers(health.SERVICE_NAME, {"Check": check})
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Watch": watch}),)
        )

    def tell(self, name: str, *, serving: bool) -> None:
        """Say whether a service or a part of it is well, here and in the metrics."""
        WELL.labels(name).set(serving)
        self.set(name, _SERVING if serving else _NOT_SERVING)

    def set(self, service: str, status: HealthCheckResponse.ServingStatus) -> None:
        """Say how a service is, from now on."""
        if not self._stopping and self._statuses.get(service) != status:
            self._statuses[service] = status
            self._changed.set()
            self._changed = asyncio.Event()

    def stop(self) -> None:
        """Say that nothing is served any more, for good."""
        for service in self._statuses:
            self.set(service, HealthCheckResponse.NOT_SERVING)
        self._stopping = True

    async def _check(self, _: object, context: Context) -> HealthCheckResponse:
        async with self._checks.holding(context):
            status = self._statuses.get(await self._asked(context))
            if status is None:
                await context.abort(grpc.StatusCode.NOT_FOUND)
            return HealthCheckResponse(status=status)

    async def _watch(self, _: object, context: Context) -> AsyncIterator[HealthCheckResponse]:
        async with self._watches.holding(context):
            service, told = await self._asked(context), None
            while True:
                changed = self._changed
                status = self._statuses.get(service, HealthCheckResponse.SERVICE_UNKNOWN)
                if status != told:
                    yield HealthCheckResponse(status=status)
                    told = status
                else:
                    await changed.wait()

    async def _asked(self, context: Context) -> str:
        """Return the name of the service that a call asks for."""
        try:
            async with asyncio.timeout(self._seconds):
                request = HealthCheckRequest.FromString(await context.read())
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED)
        except (DecodeError, TypeError):  # gRPC's sign for "no message" is no bytes
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT)
        return str(request.service)


class _Newest:
    """Lets so many calls run; one more ends the oldest."""

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._calls: dict[asyncio.Task[Any], None] = {}

    @asynccontextmanager
    async def holding(self, context: Context) -> AsyncIterator[None]:
        """Run a call; end it by a status when it is the oldest of too many."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a call runs in a task
        self._calls[task] = None
        if len(self._calls) > self._max_calls:
            oldest = next(iter(self._calls))
            del self._calls[oldest]
            oldest.cancel()
        try:
            yield
        except asyncio.CancelledError:
            if task in self._calls:
                raise
            text = "too many ask for the health at once"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        finally:
            self._calls.pop(task, None)
