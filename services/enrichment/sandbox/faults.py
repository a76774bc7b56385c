"""Faults to order, and a count of every call: what makes the sandbox a test's witness.

`POST /_sandbox/faults {"source", "kind", "value", "times", "subject"}` orders a fault; `GET
/_sandbox/calls` tells who was asked how often, by source and by the person or company asked about.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SOURCES = {"/v1/people": "contactout", "/search": "exa", "/v1/messages": "claude",
           "/submissions": "sec", "/Archives": "sec"}  # fmt: skip
KINDS = ("latency", "status", "retry_after", "truncate", "malformed", "html", "hang", "error_body")
HANG_SECONDS = 3_600
_NAME = re.compile(r'The person: \{"name": ("(?:[^"\\]|\\.)*")')


@dataclass
class Fault:
    """A fault that was ordered; it is gone after `times` calls."""

    source: str
    kind: str
    value: Any = None
    times: int = 1
    subject: str = ""


@dataclass
class Desk:
    """What was asked, and which faults are still to be given."""

    calls: Counter[str] = field(default_factory=Counter)
    by_subject: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def count(self, source: str, subject: str) -> None:
        """Note a call."""
        self.calls[source] += 1
        self.by_subject.setdefault(source, Counter())[subject] += 1

    def take(self, source: str, subject: str) -> Fault | None:
        """Return the fault that this call gets, if any."""
        for fault in self.faults:
            if fault.source == source and fault.subject in ("", subject):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def routes(self) -> list[Route]:
        """Return the addresses of the sandbox's own."""
        return [
            Route("/_sandbox/calls", self._calls, methods=["GET", "DELETE"]),
            Route("/_sandbox/faults", self._faults, methods=["POST", "DELETE"]),
        ]

    async def _calls(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.calls.clear()
            self.by_subject.clear()
        return JSONResponse({**self.calls, "by_subject": self.by_subject})

    async def _faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
            return JSONResponse({})
        body = await request.json()
        if body.get("source") not in SOURCES.values() or body.get("kind") not in KINDS:
            known = {"source": sorted(set(SOURCES.values())), "kind": KINDS}
            return JSONResponse({"error": "unknown source or kind", "known": known}, 400)
        self.faults.append(Fault(**body))
        return JSONResponse({"ordered": len(self.faults)}, 201)


class FaultMiddleware:
    """Counts each call to a source, waits the latency, and gives the fault that was ordered."""

    def __init__(self, app: ASGIApp, desk: Desk, latency: float) -> None:
        self._app = app
        self._desk = desk
        self._latency = latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        source = next((name for prefix, name in SOURCES.items() if path.startswith(prefix)), None)
        if scope["type"] != "http" or source is None:
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        subject = _subject(source, path, scope.get("query_string", b"").decode(), body)
        self._desk.count(source, subject)
        fault = self._desk.take(source, subject)
        await asyncio.sleep(self._latency)
        replay = _replay(body)
        if fault and fault.kind not in ("latency", "truncate"):
            await (await _answer(fault))(scope, replay, send)
        elif fault and fault.kind == "truncate":
            await self._app(scope, replay, _truncating(send))
        else:
            await asyncio.sleep(float(fault.value) if fault else 0)
            await self._app(scope, replay, send)


def _subject(source: str, path: str, query: str, body: bytes) -> str:
    """Return whom a call is about."""
    if source == "sec":
        digits = re.search(r"CIK(\d{10})|/data/(\d+)/", path)
        return str(int(digits.group(1) or digits.group(2))) if digits else ""
    if not body:
        return parse_qs(query).get("profile", [""])[0]
    asked = json.loads(body)
    if source == "contactout":
        return str(asked.get("full_name") or asked.get("linkedin_url") or asked.get("email") or "")
    if source == "exa":
        return str(asked.get("query", ""))
    named = _NAME.search(str(asked.get("messages", [{}])[-1].get("content", "")))
    return str(json.loads(named.group(1))) if named else ""


async def _answer(fault: Fault) -> Response:
    match fault.kind:
        case "hang":
            await asyncio.sleep(HANG_SECONDS)
        case "status":
            return JSONResponse({"error": "ordered"}, int(fault.value))
        case "retry_after":
            headers = {"Retry-After": str(fault.value)}
            return JSONResponse({"error": "slow down"}, 429, headers=headers)
        case "malformed":
            return Response('{"half": ', media_type="application/json")
        case "html":
            return HTMLResponse("<html><body>Something else</body></html>")
        case "error_body":
            return JSONResponse({"status_code": 500, "error": "ordered", "message": "ordered"})
    return Response(status_code=500)


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _truncating(send: Send) -> Send:
    """Promise the whole length and send half of it."""

    async def send_half(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            message = {"type": message["type"], "body": body[: len(body) // 2], "more_body": False}
        await send(message)

    return send_half
