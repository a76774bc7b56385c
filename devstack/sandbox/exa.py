"""Exa in the sandbox: pages at a reserved domain that mention who was searched for."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from devstack.sandbox.faults import Kind, ordered
from devstack.sandbox.injections import Injection
from devstack.sandbox.vendor import Called, Setup, Vendor

TOPICS = (
    ("speaks about priorities for the coming year", "2026-03-12"),
    ("joins a panel on responsible growth", "2025-11-04"),
    ("named in an industry review", "2025-06-18"),
)
STRANGER = "Boris Nowhere of Widgets Limited"
TAGS = {400: "INVALID_REQUEST_BODY", 401: "INVALID_API_KEY", 402: "NO_MORE_CREDITS"}
REFUSALS = {
    "INVALID_API_KEY": 401,
    "INVALID_REQUEST": 400,
    "INVALID_REQUEST_BODY": 400,
    "PROHIBITED_CONTENT": 403,
    "TEAM_BLOCKED": 403,
    "UNPROCESSABLE": 422,
}
COST = {"total": 0.007, "search": {"neural": 0.007}}


def routes(setup: Setup) -> list[Route]:
    """Return Exa's routes."""
    return [Route("/search", _Exa(setup.injections).search, methods=["POST"])]


def error(status: int, headers: Mapping[str, str], tag: str = "") -> JSONResponse:
    """Return an error in Exa's form."""
    body = {
        "requestId": f"sandbox-error-{status}",
        "error": f"the request failed with {status}",
        "tag": tag or TAGS.get(status, "SANDBOX_ERROR"),
    }
    return JSONResponse(body, status, headers=dict(headers))


def about_whom(call: Called) -> str:
    """Return whom a call is about."""
    return str(call.json().get("query", ""))


VENDOR = Vendor(("/search",), routes, error, about_whom)


class _Exa:
    def __init__(self, injections: Sequence[Injection]) -> None:
        self._injections = injections

    async def search(self, request: Request) -> JSONResponse:
        """Answer POST /search."""
        body = await request.body()
        query = str(json.loads(body or b"{}").get("query", ""))
        if not request.headers.get("x-api-key"):
            return error(401, {})
        if not query:
            return error(400, {})
        if refusal := ordered(request, Kind.REFUSAL):
            return error(REFUSALS.get(str(refusal.value), 400), {}, str(refusal.value))
        if quota := ordered(request, Kind.QUOTA):
            return error(402, {}, str(quota.value or ""))
        answer = {"requestId": f"sandbox-{zlib.crc32(body):08x}", "costDollars": COST}
        if ordered(request, Kind.UNPRICED):
            del answer["costDollars"]
        if ordered(request, Kind.ERROR_BODY):
            return JSONResponse(answer | {"error": "the search failed", "tag": "SANDBOX_ERROR"})
        return JSONResponse(answer | {"results": self._results(request, query)})

    def _results(self, request: Request, query: str) -> list[dict[str, Any]]:
        if "nobody" in query.lower() or ordered(request, Kind.NOT_FOUND):
            return []
        about = STRANGER if ordered(request, Kind.STRANGER) else query
        pages = [_page(about, *topic) for topic in TOPICS]
        if wanted := ordered(request, Kind.INJECTION):
            chosen = [each for each in self._injections if wanted.value in (None, each.id)]
            pages = [*(_poisoned(about, each) for each in chosen[:4]), pages[0]]
        return pages


def _page(about: str, topic: str, day: str) -> dict[str, Any]:
    slug = re.sub(r"[^a-z0-9]+", "-", f"{about} {topic}".lower()).strip("-")
    url = f"https://news.example/{day[:4]}/{slug}"
    return {
        "id": url,
        "title": f"{about} {topic}",
        "url": url,
        "publishedDate": f"{day}T09:00:00.000Z",
        "author": "Sandbox Newsroom",
        "score": 0.5,
        "text": f"Sandbox page, not from the web: {about} {topic}.",
    }


def _poisoned(about: str, injection: Injection) -> dict[str, Any]:
    page = _page(about, "is introduced", "2026-05-01")
    return page | {"text": f"{about} is introduced on this page. {injection.text}"}
