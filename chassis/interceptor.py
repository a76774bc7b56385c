"""The interceptor: what every call of every RPC needs, so that a handler is only its business.

For each call: trace, token, scope, decoding, validation, deadline, error to status, and one log
line, which has tenant, method, status, duration and trace id, and nothing that a user typed.

A request is read after its caller has been admitted: whoever has no token costs no more than the
metadata. For that each RPC is served to gRPC as one that takes a stream, whose messages gRPC reads
when it is told to; this costs no more. A call that fails leaves no reference to its request behind.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar, cast

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from grpc_status import rpc_status

from chassis import auth, telemetry
from chassis.admission.admission import SMALL_BYTES, Admission, Visit
from chassis.admission.deadlines import Deadlines
from chassis.admission.drain import OpenCalls
from chassis.admission.long_lists import long_list_of
from chassis.admission.requests import Requests
from chassis.admission.stall import Stall
from chassis.admission.tenants import Load
from chassis.clock import utc_now
from chassis.database import retry_if_aborted
from chassis.errors import InvalidArgument, Refusal, Unavailable, internal_status
from chassis.identity.service_callers import ServiceCallers
from chassis.transient import TRANSIENT
from chassis.validation import violations_of

_log = structlog.get_logger()
T = TypeVar("T", bound=Message)
Decode = Callable[[bytes], Message]
Encode = Callable[[Any], bytes]
Receive = Callable[["Context", Visit], Awaitable[Any]]
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Rpc:
    """A row of a service's table of RPCs: what serves one, and what a call of it must have.

    `serve` takes the request (or an async iterator of requests) and the context; it returns the
    response or is an async generator of responses. `scope` must be in the caller's token. `load`
    says which of its tenant's rates a call uses; without it a scope to read makes a read. An RPC
    that `validates_itself` gets requests unchecked; one with `no_deadline` ends with its work or
    its caller, not after the service's longest time.
    """

    serve: Callable[[Any, Context], Any]
    scope: str
    load: Load | None = None
    validates_itself: bool = False
    no_deadline: bool = False

    def load_of_call(self) -> Load:
        """Return what a call costs."""
        return self.load or (Load.READ if self.scope.endswith(":read") else Load.WRITE)


class ContractMismatchError(Exception):
    """A service's table of RPCs and its contract differ; the text names the RPCs."""


class Interceptor:
    """Stands before every RPC of a service."""

    def __init__(
        self,
        verify: auth.Verify,
        services: ServiceCallers,
        admission: Admission,
        open_calls: OpenCalls,
        deadline_seconds: float,
        first_message_seconds: float,
        stalled_seconds: float,
    ) -> None:
        self._verify = verify
        self._services = services
        self._admission = admission
        self._open_calls = open_calls
        self._deadlines = Deadlines(deadline_seconds)
        self._arrivals = Deadlines(first_message_seconds)
        self._stalled_seconds = stalled_seconds

    def register(
        self, server: grpc.aio.Server, service: ServiceDescriptor, rpcs: Mapping[str, Rpc]
    ) -> None:
        """Serve each RPC of the contract by its row of the table.

        grpc.aio waits for a call of each registered method and of all others side by side, and
        builds that wait anew at every call: 20 registered methods cost a call 13 us, generic
        handlers nothing.

        Raises ContractMismatchError where the table lacks an RPC or has one too many.
        """
        _demand_same(service, rpcs)
        handlers = {
            name: self._handler(f"/{service.full_name}/{name}", method, rpcs[name])
            for name, method in service.methods_by_name.items()
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service.full_name, handlers),)
        )

    def _handler(self, path: str, method: MethodDescriptor, rpc: Rpc) -> Any:
        """Wrap an RPC of any of the four kinds."""
        wrap, serve = (
            (self._streaming, grpc.stream_stream_rpc_method_handler)
            if method.server_streaming
            else (self._single, grpc.stream_unary_rpc_method_handler)
        )
        decode = _decoder(GetMessageClass(method.input_type), rpc)
        receive = self._receive_each if method.client_streaming else self._receive_one
        encode = _unless_serialized(GetMessageClass(method.output_type).SerializeToString)
        return cast(Any, serve)(wrap(path, rpc, partial(receive, decode), encode), None, None)

    def _single(self, path: str, rpc: Rpc, receive: Receive, encode: Encode) -> Any:
        load, serve = rpc.load_of_call(), _serve_again(rpc)

        async def call(_: object, context: Context) -> bytes:
            request = visit = None
            log = _CallLog(path)
            opened = self._open_calls.begin(context)
            task = None if rpc.no_deadline else self._deadlines.begin()
            try:
                visit = await self._admit(rpc.scope, load, context, log)
                await visit.begin_work()
                request = await receive(context, visit)
                response = encode(await serve(request, context))
                if len(response) > SMALL_BYTES:
                    await visit.hold_instead(len(response))
                return response
            except BaseException as error:
                del request
                late = task is not None and self._deadlines.over(task)
                outcome = TimeoutError() if late else opened.outcome(error)
                await _fail(outcome, context, log)
            finally:
                if visit is not None:
                    visit.end_work()
                if task is not None:
                    self._deadlines.end(task)
                log.write()

        return call

    def _streaming(self, path: str, rpc: Rpc, receive: Receive, encode: Encode) -> Any:
        load = rpc.load_of_call()

        async def call(_: object, context: Context) -> AsyncIterator[bytes]:
            request = None
            log = _CallLog(path)
            opened = self._open_calls.begin(context)
            try:
                visit = await self._admit(rpc.scope, load, context, log)
                request = await receive(context, visit)
                responses = rpc.serve(request, context)
                stall = Stall(responses, visit, self._stalled_seconds)
                try:
                    while (response := await _next_until_expiry(responses)) is not None:
                        stall.begin()
                        yield encode(response)
                        stall.end()
                finally:
                    # With the call: a handler releases what it holds when its caller goes.
                    await stall.close()
            except BaseException as error:
                del request
                await _fail(opened.outcome(error), context, log)
            finally:
                log.write()

        return call

    async def _receive_one(self, decode: Decode, context: Context, visit: Visit) -> Message:
        """Return the request of an RPC that takes one."""
        stop = partial(self._arrivals.cut_short, asyncio.current_task())
        await visit.begin_reading(stop)
        try:
            body = await self._first_message(context)
            if body is grpc.aio.EOF:
                raise InvalidArgument("the call has no request", reason="MALFORMED")
            if len(body) > SMALL_BYTES:
                await visit.hold(len(body))
        finally:
            visit.end_reading(stop)
        return decode(body)

    async def _receive_each(
        self, decode: Decode, context: Context, visit: Visit
    ) -> Requests[Message]:
        """Return the requests of an RPC that takes a stream, which are read as they are taken."""
        await visit.begin_sending()
        first = partial(self._first_message, context)
        return Requests(visit, self._open_calls, first, context.read, decode)

    async def _first_message(self, context: Context) -> Any:
        """Read the first message of a call, or end the call if it does not come in time."""
        task = self._arrivals.begin()
        try:
            return await context.read()
        except asyncio.CancelledError:
            if self._arrivals.over(task):
                raise TimeoutError from None
            raise
        finally:
            self._arrivals.end(task)

    async def _admit(self, scope: str, load: Load, context: Context, log: _CallLog) -> Visit:
        """Let the call in, or refuse it by what its metadata say."""
        metadata = dict(context.invocation_metadata() or ())
        telemetry.start_trace(metadata.get("traceparent"))
        authorization = metadata.get("authorization")
        caller = None if authorization else self._services.find(context)
        caller = caller or await self._verify(authorization)
        log.tenant = str(caller.tenant or "")
        caller.require(scope)
        auth.set_caller(caller)
        visit = self._admission.enter(caller.tenant, load, context)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a call runs in a task
        # It ends once the answer has been sent, which takes as long as the client likes. (What is
        # given to the context's add_done_callback keeps the call until the collector runs.)
        task.add_done_callback(visit.leave)
        if load is Load.EXPENSIVE:
            await visit.begin_expensive()
        return visit


async def _next_until_expiry(responses: AsyncIterator[Any]) -> Any:
    """Return the next response of a stream, None at its end; refuse once the token has expired."""
    ends_in = auth.current_caller().expires_at - utc_now().timestamp()
    try:
        async with asyncio.timeout(max(ends_in, 0)) as ending:
            return await anext(responses, None)
    except TimeoutError:
        if ending.expired():
            raise auth.token_expired() from None
        raise


def _demand_same(service: ServiceDescriptor, rpcs: Mapping[str, Rpc]) -> None:
    contract, table = set(service.methods_by_name), set(rpcs)
    if contract != table:
        raise ContractMismatchError(
            f"{service.full_name}: the table of RPCs lacks {sorted(contract - table)}"
            f" and has {sorted(table - contract)} too many"
        )


class _CallLog:
    """The one line that a call leaves."""

    __slots__ = ("method", "started", "status", "tenant")

    def __init__(self, method: str) -> None:
        self.method = method
        self.status = "OK"
        self.tenant = ""
        self.started = time.perf_counter()

    def write(self) -> None:
        milliseconds = (time.perf_counter() - self.started) * 1000
        telemetry.log_call(self.method, self.status, self.tenant, milliseconds)


async def _fail(error: BaseException, context: Context, log: _CallLog) -> NoReturn:
    """Answer a call that failed: the table of what an exception means to the caller.

    gRPC keeps the exception that ends a call with the call's state, which the frames of its
    traceback refer to: a cycle that would keep the request in memory until the collector runs.
    """
    status = _status_of(error, context, log)
    _release_frames(error)
    if status is None:
        raise error
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status always raises")


def _status_of(error: BaseException, context: Context, log: _CallLog) -> status_pb2.Status | None:
    """Return what the caller is told, None where gRPC itself has ended the call."""
    match error:
        case asyncio.CancelledError() | GeneratorExit():
            # gRPC itself ends a call at the deadline that its caller set.
            late = context.time_remaining() == 0
            log.status = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            return None
        case Refusal():
            log.status = error.code.name
            return error.status()
        case TimeoutError():
            log.status = "DEADLINE_EXCEEDED"
            code = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
            return status_pb2.Status(code=code, message="the call took too long")
        case _ if isinstance(error, TRANSIENT):
            log.status = "UNAVAILABLE"
            _log.warning("transient error", error=repr(error))
            passing = Unavailable("try again in a moment", reason="TEMPORARILY_UNAVAILABLE")
            return passing.status()
        case Exception():
            log.status = "INTERNAL"
            _log.error("bug", method=log.method, exc_info=error)
            return internal_status()
    return None  # SystemExit and its like end the process


def _release_frames(error: BaseException | None) -> None:
    """Drop the local variables of the frames that an exception has ended."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def preserialized(kind: type[T], content: bytes) -> T:
    """Return a response's bytes in its place, where a handler has a quicker way to them."""
    return cast(T, content)


def _serve_again(rpc: Rpc) -> Callable[[Any, Context], Awaitable[Any]]:
    """Have an RPC that only reads do it again where its transaction was given up."""
    if not rpc.scope.endswith(":read"):
        return rpc.serve

    def serve(request: Any, context: Context) -> Awaitable[Any]:
        return retry_if_aborted(partial(rpc.serve, request, context))

    return serve


def _unless_serialized(serialize: Encode) -> Encode:
    return lambda response: response if type(response) is bytes else serialize(response)


def _decoder(kind: type[Message], rpc: Rpc) -> Decode:
    """Return what makes the bytes of a message the RPC's argument."""

    def decode(body: bytes) -> Message:
        if too_long := long_list_of(kind.DESCRIPTOR, body):
            raise InvalidArgument.of([too_long])
        try:
            request = kind.FromString(body)
        except DecodeError:
            text = f"the request is not a {kind.DESCRIPTOR.full_name}"
            raise InvalidArgument(text, reason="MALFORMED") from None
        violations = () if rpc.validates_itself else violations_of(request)
        if violations:
            raise InvalidArgument.of(violations)
        return request

    return decode
