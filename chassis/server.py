"""The gRPC server: one gate does what every call needs; a handler is only its business.

For each call: trace, token, scope, validation, deadline, error to status, one log line, which has
tenant, method, status, duration and trace id, and nothing that a user typed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, TypeVar, cast

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from chassis import auth, telemetry
from chassis.deadlines import Deadlines
from chassis.errors import InvalidArgument, Refusal, Unavailable, internal_status
from chassis.settings import ServiceSettings, SettingsError
from chassis.transient import TRANSIENT
from chassis.validation import violations_of

_log = structlog.get_logger()
T = TypeVar("T", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]


class Gate:
    """Stands before every RPC of a service: its handlers are wrapped once, as they are registered.

    `scopes` names the scope that each method needs, by full method name; a service whose method is
    not in the table does not start. `unchecked` methods check their requests by themselves, and
    `lasting` ones may take longer than the service's deadline.
    """

    def __init__(
        self,
        verify: auth.Verify,
        scopes: Mapping[str, str],
        unchecked: frozenset[str],
        deadline_seconds: float,
        lasting: frozenset[str] = frozenset(),
    ) -> None:
        self._verify = verify
        self._scopes = scopes
        self._unchecked = unchecked
        self._lasting = lasting
        self._deadlines = Deadlines(deadline_seconds)

    def before(self, server: grpc.aio.Server) -> grpc.aio.Server:
        """Return what generated code adds a servicer to in place of `server`."""
        return cast(grpc.aio.Server, _Registry(server, self._wrap))

    def _wrap(self, method: str, handler: Any) -> Any:
        """Wrap the handler of any of the four kinds of RPC."""
        wrap = self._streaming if handler.response_streaming else self._single
        kind = f"{_kind(handler.request_streaming)}_{_kind(handler.response_streaming)}"
        behaviour = wrap(method, self._scopes[method], getattr(handler, kind))
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        serialize = _unless_written(handler.response_serializer)
        return make(behaviour, handler.request_deserializer, serialize)

    def _single(self, method: str, scope: str, behaviour: Any) -> Any:
        check = _as_is if method in self._unchecked else _checked
        lasts = method in self._lasting

        async def call(request: Any, context: Context) -> Any:
            log = _CallLog(method)
            task = None if lasts else self._deadlines.begin()
            try:
                await self._admit(scope, context, log)
                return await behaviour(check(request), context)
            except BaseException as error:
                late = task is not None and self._deadlines.over(task)
                await _fail(TimeoutError() if late else error, context, log)
            finally:
                if task is not None:
                    self._deadlines.end(task)
                log.write()

        return call

    def _streaming(self, method: str, scope: str, behaviour: Any) -> Any:
        check = _as_is if method in self._unchecked else _checked

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            log = _CallLog(method)
            try:
                await self._admit(scope, context, log)
                # Closed with the call: what a handler holds is let go of when its caller goes.
                async with aclosing(behaviour(check(request), context)) as responses:
                    async for response in responses:
                        yield response
            except BaseException as error:
                await _fail(error, context, log)
            finally:
                log.write()

        return call

    async def _admit(self, scope: str, context: Context, log: _CallLog) -> None:
        metadata = dict(context.invocation_metadata() or ())
        telemetry.start_trace(metadata.get("traceparent"))
        caller = await self._verify(metadata.get("authorization"))
        log.tenant = str(caller.tenant or "")
        caller.require(scope)
        auth.set_caller(caller)


class _Registry:
    """What generated code registers handlers with; the server gets them wrapped, as generic ones.

    grpc.aio waits for a call of each registered method and of all others side by side, and builds
    that wait anew at every call: 20 registered methods cost a call 13 us, generic ones nothing.
    """

    def __init__(self, server: grpc.aio.Server, wrap: Callable[[str, Any], Any]) -> None:
        self._server = server
        self._wrap = wrap

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Take nothing: the same handlers come with their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the handlers of a service."""
        wrapped = {name: self._wrap(f"/{service}/{name}", each) for name, each in handlers.items()}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, wrapped),)
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
    """Answer a call that failed: the table of what an exception means to the caller."""
    match error:
        case asyncio.CancelledError() | GeneratorExit():
            # gRPC itself ends a call at the deadline that its caller set.
            late = context.time_remaining() == 0
            log.status = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            raise error
        case Refusal():
            log.status = error.code.name
            await _abort(context, error.status())
        case TimeoutError():
            log.status = "DEADLINE_EXCEEDED"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the call took too long")
        case _ if isinstance(error, TRANSIENT):
            log.status = "UNAVAILABLE"
            _log.warning("a server behind this one is away", error=repr(error))
            await _abort(context, Unavailable("try again in a moment").status())
        case Exception():
            log.status = "INTERNAL"
            _log.error("bug", method=log.method, exc_info=error)
            await _abort(context, internal_status())
    raise error


def written_as(kind: type[T], content: bytes) -> T:
    """Pass a response's bytes for the response, where a handler has a quicker way to them."""
    return cast(T, content)


def _unless_written(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda response: response if type(response) is bytes else serialize(response)


def _kind(streaming: bool) -> str:
    return "stream" if streaming else "unary"


def _as_is(request: Any) -> Any:
    return request


def _checked(request: Any) -> Any:
    if not isinstance(request, Message):
        return _checked_stream(request)
    violations = violations_of(request)
    if violations:
        raise InvalidArgument.of(violations)
    return request


async def _checked_stream(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        yield _checked(request)


async def _abort(context: Context, status: status_pb2.Status) -> NoReturn:
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status always raises")


def create_server(settings: ServiceSettings) -> grpc.aio.Server:
    """Build the server, listening where the settings say, not yet started.

    Raises SettingsError where it cannot listen there.
    """
    size = settings.max_message_mb * 1024 * 1024
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )
    try:
        _listen(server, settings)
    except RuntimeError:  # gRPC tells why in its own log line only
        text = f"{settings.listen} is in use, or is no host:port of this machine"
        raise SettingsError(f"PROSPECT_LISTEN: {text}") from None
    return server


def _listen(server: grpc.aio.Server, settings: ServiceSettings) -> None:
    if settings.tls_certificate_file and settings.tls_key_file:
        pair = (settings.tls_key_file.read_bytes(), settings.tls_certificate_file.read_bytes())
        server.add_secure_port(settings.listen, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(settings.listen)
