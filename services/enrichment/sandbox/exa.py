"""Exa in the sandbox: pages at a reserved domain that mention who was searched for."""

from __future__ import annotations

import re
import zlib

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

TOPICS = (
    ("speaks about priorities for the coming year", "2026-03-12"),
    ("joins a panel on responsible growth", "2025-11-04"),
    ("named in an industry review", "2025-06-18"),
)


def routes() -> list[Route]:
    """Return the addresses that Exa answers at."""
    return [Route("/search", _search, methods=["POST"])]


async def _search(request: Request) -> JSONResponse:
    body = await request.json()
    query = str(body.get("query", ""))
    request_id = f"sandbox-{zlib.crc32(query.encode()):08x}"
    if not request.headers.get("x-api-key"):
        refusal = {"requestId": request_id, "error": "Invalid API key", "tag": "INVALID_API_KEY"}
        return JSONResponse(refusal, 401)
    if not query:
        refusal = {"requestId": request_id, "error": "query is required", "tag": "INVALID_REQUEST"}
        return JSONResponse(refusal, 400)
    found = [] if "nobody" in query.lower() else [_result(query, *topic) for topic in TOPICS]
    cost = {"total": 0.008, "search": {"neural": 0.005}, "contents": {"text": 0.003}}
    return JSONResponse({"requestId": request_id, "results": found, "costDollars": cost})


def _result(query: str, topic: str, day: str) -> dict[str, object]:
    slug = re.sub(r"[^a-z0-9]+", "-", f"{query} {topic}".lower()).strip("-")
    url = f"https://news.example/{day[:4]}/{slug}"
    return {
        "id": url,
        "title": f"{query} {topic}",
        "url": url,
        "publishedDate": f"{day}T09:00:00.000Z",
        "author": "Sandbox Newsroom",
        "score": 0.5,
        "text": f"Sandbox page, not from the web: {query} {topic}.",
    }
