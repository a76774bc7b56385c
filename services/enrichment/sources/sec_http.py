"""How we ask the SEC: politely, under our name, and never for more than 10 MB.

EDGAR allows ten requests a second to a requester and wants a User-Agent that names company and
contact. It answers a breach of either with 403 and an HTML page, and blocks for about ten minutes:
so 403 means "slow down", not "you may not".
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from services.enrichment.findings import ErrorClass, SourceError

MAX_BODY_BYTES = 10 * 1024 * 1024
BLOCK_SECONDS = 600.0
REQUEST_SECONDS = 30.0


class Pace:
    """Lets at most `limit` calls start in any `seconds`; the others wait their turn.

    The window is a tenth longer than a second, since requests may arrive closer than they left.
    """

    def __init__(
        self,
        limit: int = 10,
        seconds: float = 1.1,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._starts: deque[float] = deque(maxlen=limit)
        self._seconds = seconds
        self._now = now
        self._sleep = sleep
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Return when the next call may start."""
        async with self._turn:
            if len(self._starts) == self._starts.maxlen:
                free_at = self._starts[0] + self._seconds
                while (remaining := free_at - self._now()) > 0:
                    await self._sleep(remaining)
            self._starts.append(self._now())


class SecHttp:
    """GET as EDGAR wants it; a failure is a SourceError, an unknown address is None."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        user_agent: str,
        clock: Callable[[], datetime],
        pace: Pace,
    ) -> None:
        self._client = client
        self._headers = {"User-Agent": user_agent}
        self._clock = clock
        self._pace = pace

    async def get_json(self, url: str) -> dict[str, Any] | None:
        """Return the JSON object at `url`; None where there is nothing (404)."""
        body = await self.get(url)
        if body is None:
            return None
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _invalid("SEC answered something else than JSON") from error
        if not isinstance(value, dict):
            raise _invalid("SEC answered JSON that is not an object")
        return value

    async def get(self, url: str) -> bytes | None:
        """Return the body at `url`; None where there is nothing (404)."""
        await self._pace.wait()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self._get(url)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SourceError(ErrorClass.TRANSIENT, "SEC did not answer in time") from error
        except httpx.TransportError as error:
            kind = type(error).__name__
            raise SourceError(ErrorClass.TRANSIENT, f"SEC is not reachable: {kind}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _invalid(f"SEC's answer cannot be read: {type(error).__name__}") from error

    async def _get(self, url: str) -> bytes | None:
        async with self._client.stream("GET", url, headers=self._headers) as response:
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise _error(response, self._clock())
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _invalid("SEC answered more than 10 MB")
            return bytes(body)


def _error(response: httpx.Response, now: datetime) -> SourceError:
    """Say what a status other than 200 and 404 means."""
    status = response.status_code
    retry_after = _retry_after(response.headers.get("Retry-After", ""), now)
    text = f"SEC answered {status}"
    if status == 403:
        message = f"{text}: too many requests, or no contact in the User-Agent"
        return SourceError(ErrorClass.THROTTLED, message, retry_after=retry_after or BLOCK_SECONDS)
    if status == 429:
        return SourceError(ErrorClass.THROTTLED, text, retry_after=retry_after)
    if status >= 500 or status in (408, 425):
        return SourceError(ErrorClass.TRANSIENT, text, retry_after=retry_after)
    if status >= 400:
        return SourceError(ErrorClass.REFUSED_REQUEST, text)
    return _invalid(text)


def _retry_after(value: str, now: datetime) -> float | None:
    """Read Retry-After, which is seconds or an HTTP date."""
    if value.strip().isdecimal():
        return min(float(value), 86_400.0)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), 86_400.0)


def _invalid(message: str) -> SourceError:
    return SourceError(ErrorClass.INVALID_ANSWER, message)
