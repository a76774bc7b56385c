"""How we ask the SEC: politely, under our name, and never for more than 10 MB.

EDGAR allows ten requests a second to a requester and wants a User-Agent that names company and
contact. It answers a breach of either with an HTML page, mostly with 403, and blocks for about ten
minutes: so it means "slow down", not "you may not". The page's title says which of the two it is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx

from services.enrichment.sources.call import ErrorClass
from services.enrichment.sources.http import Vendor, send

MAX_BYTES = 10 * 1024 * 1024
UNDECLARED, TOO_FAST = "undeclared_automated_tool", "request_rate_threshold"
_TITLES = {
    re.compile(rb"<title>[^<]*Undeclared Automated Tool", re.IGNORECASE): UNDECLARED,
    re.compile(rb"<title>[^<]*Request Rate Threshold", re.IGNORECASE): TOO_FAST,
}
_TITLE_WITHIN = 4096
VENDOR = Vendor(
    "SEC",
    {
        403: ErrorClass.THROTTLED,  # too many requests, or no contact in the User-Agent
        408: ErrorClass.TRANSIENT,
        425: ErrorClass.TRANSIENT,
        429: ErrorClass.THROTTLED,
    },
    tags={UNDECLARED: ErrorClass.THROTTLED, TOO_FAST: ErrorClass.THROTTLED},
    delays={200: 600.0, 403: 600.0},
)


class SecHttp:
    """GET as EDGAR wants it; a failure is a SourceError, an unknown address is None.

    `pace` is awaited before each request and returns when the next may start.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        user_agent: str,
        clock: Callable[[], datetime],
        pace: Callable[[], Awaitable[None]],
        seconds: float,
    ) -> None:
        self._client = client
        self._headers = {"User-Agent": user_agent}
        self._clock = clock
        self._pace = pace
        self._seconds = seconds

    async def get_json(self, url: str) -> dict[str, Any] | None:
        """Return the JSON object at `url`; None where there is nothing (404)."""
        body = await self.get(url)
        return None if body is None else await VENDOR.object_of(body)

    async def get(self, url: str) -> bytes | None:
        """Return the body at `url`; None where there is nothing (404)."""
        await self._pace()
        request = self._client.build_request("GET", url, headers=self._headers)
        reply = await send(
            self._client, request, VENDOR, seconds=self._seconds, max_bytes=MAX_BYTES
        )
        if reply.status == 404:
            return None
        block = _block(reply.body)
        if reply.status != 200 or block:
            raise VENDOR.error(reply.status, reply.headers, self._clock(), tag=block)
        return reply.body


def _block(body: bytes) -> str:
    """Return why EDGAR blocks us, where the body is its page that says so."""
    beginning = body[:_TITLE_WITHIN]
    return next((why for title, why in _TITLES.items() if title.search(beginning)), "")
