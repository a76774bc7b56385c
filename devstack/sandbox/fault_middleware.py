"""The middleware around all sources: it counts each call, delays it, and injects ordered faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devstack.sandbox.fault_desk import FaultDesk
from devstack.sandbox.faults import Fault, Kind
from devstack.sandbox.odd_json import odd
from devstack.sandbox.vendor import Called, Vendor
from services.enrichment.sources.catalogue import SourceName

HANG_SECONDS = 3_600
MEGABYTE = 1024 * 1024


class FaultMiddleware:
    """Injects faults. It is the outermost layer, so that it can abort the connection itself."""

    def __init__(
        self, app: ASGIApp, vendors: Mapping[SourceName, Vendor], desk: FaultDesk, latency: float
    ) -> None:
        self._app = app
        self._vendors = vendors
        self._desk = desk
        self._latency = latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        source = next((n for n, v in self._vendors.items() if path.startswith(v.paths)), None)
        if scope["type"] != "http" or source is None:
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        vendor, query = self._vendors[source], scope.get("query_string", b"").decode()
        about = vendor.about_whom(Called(path, query, body))
        self._desk.count(source, about)
        fault = self._desk.take(source, about, path)
        await asyncio.sleep(self._latency)
        call = _Call(self._app, {**scope, "fault": fault}, _replay(body, receive), send)
        await call.answer(vendor, fault)


class _Call:
    """A call to a source whose body has been read."""

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send

    async def answer(self, vendor: Vendor, fault: Fault | None) -> None:
        """Answer as the source does, or with the fault."""
        if fault is None or fault.kind not in _TRANSPORT:
            await self._app(self._scope, self._receive, self._send)
        else:
            await _TRANSPORT[fault.kind](self, vendor, fault)

    async def _respond(self, response: Response) -> None:
        await response(self._scope, self._receive, self._send)

    async def _whole(self) -> tuple[Message, bytes]:
        """Let the source answer, and return the answer unsent."""
        start: dict[str, Any] = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app(self._scope, self._receive, keep)
        return start, bytes(body)

    async def latency(self, vendor: Vendor, fault: Fault) -> None:
        """Answer late."""
        await asyncio.sleep(float(fault.value or 0))
        await self._app(self._scope, self._receive, self._send)

    async def hang(self, vendor: Vendor, fault: Fault) -> None:
        """Answer later than any caller waits."""
        await asyncio.sleep(HANG_SECONDS)

    async def cut(self, vendor: Vendor, fault: Fault) -> None:
        """Abort the connection; an ASGI server's own `send` is bound to the object that has it."""
        transport = getattr(getattr(self._send, "__self__", None), "transport", None)
        if transport is None:
            raise RuntimeError("this ASGI server gives no access to its connection")
        transport.abort()

    async def lost(self, vendor: Vendor, fault: Fault) -> None:
        """Do the work and abort the connection in place of the answer."""
        await self._whole()
        await self.cut(vendor, fault)

    async def truncate(self, vendor: Vendor, fault: Fault) -> None:
        """Announce the whole body and send half of it."""
        start, body = await self._whole()
        await self._send(start)
        with contextlib.suppress(RuntimeError):
            await self._send(
                {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
            )

    async def malformed(self, vendor: Vendor, fault: Fault) -> None:
        """Send half of the body as if it were the whole."""
        start, body = await self._whole()
        headers = [(k, v) for k, v in start["headers"] if k.lower() == b"content-type"]
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body[: len(body) // 2]})

    async def html(self, vendor: Vendor, fault: Fault) -> None:
        """Send an HTML page."""
        await self._respond(HTMLResponse("<!DOCTYPE html><html><body>Hello</body></html>"))

    async def huge(self, vendor: Vendor, fault: Fault) -> None:
        """Send a JSON string that does not end."""
        megabytes = int(fault.value or 100)

        async def body() -> AsyncIterator[bytes]:
            yield b'{"much": "'
            for _ in range(megabytes):
                yield b"a" * MEGABYTE
            yield b'"}'

        await self._respond(StreamingResponse(body(), media_type="application/json"))

    async def odd_json(self, vendor: Vendor, fault: Fault) -> None:
        """Send the answer with something odd in its JSON; a filing stays as it is."""
        start, body = await self._whole()
        headers = {k.decode(): v.decode() for k, v in start["headers"] if k != b"content-length"}
        if "json" in headers.get("content-type", ""):
            body = odd(str(fault.value), body)
        await self._respond(Response(body, start["status"], headers))

    async def body(self, vendor: Vendor, fault: Fault) -> None:
        """Send the text that was ordered."""
        await self._respond(Response(str(fault.value or ""), media_type="application/json"))

    async def redirect(self, vendor: Vendor, fault: Fault) -> None:
        """Send a redirect."""
        await self._respond(RedirectResponse(str(fault.value or "/_sandbox/calls"), 307))

    async def status(self, vendor: Vendor, fault: Fault) -> None:
        """Send an error in the vendor's form."""
        await self._respond(vendor.error(int(fault.value or 500), {}))

    async def retry_after(self, vendor: Vendor, fault: Fault) -> None:
        """Send 429 with Retry-After."""
        value = fault.value if isinstance(fault.value, str) else str(int(fault.value or 1))
        await self._respond(vendor.error(429, {"Retry-After": value}))


_TRANSPORT: Mapping[Kind, Callable[[_Call, Vendor, Fault], Awaitable[None]]] = {
    Kind.LATENCY: _Call.latency,
    Kind.HANG: _Call.hang,
    Kind.CUT: _Call.cut,
    Kind.LOST: _Call.lost,
    Kind.TRUNCATE: _Call.truncate,
    Kind.MALFORMED: _Call.malformed,
    Kind.HTML: _Call.html,
    Kind.HUGE: _Call.huge,
    Kind.ODD_JSON: _Call.odd_json,
    Kind.BODY: _Call.body,
    Kind.REDIRECT: _Call.redirect,
    Kind.STATUS: _Call.status,
    Kind.RETRY_AFTER: _Call.retry_after,
}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read again, then what follows."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
