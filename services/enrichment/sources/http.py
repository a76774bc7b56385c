"""One bounded HTTP call, and one table a vendor that says what its errors mean.

It never retries and follows no redirect: the run owns retries, since two layers of them multiply
paid calls, and a redirect would carry the key to another host. What is raised has no cause
attached: an HTTP library's exception holds the request, and with it the person and the key.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from services.enrichment.sources.call import ErrorClass, SourceError
from services.enrichment.sources.vendor_json import read_json

MAX_BYTES = 5 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
LARGE_BYTES = 64 * 1024
"""More than this is read beside the event loop, which may take a second."""
MAX_RETRY_AFTER = 86_400.0
MAX_DOLLARS = 1_000
"""No call to a source costs more: an answer that says so is mistaken."""


_heard: ContextVar[list[dict[str, Any]] | None] = ContextVar("heard", default=None)


@contextmanager
def hearing() -> Iterator[list[dict[str, Any]]]:
    """Collect the objects that vendors answer meanwhile, as the clients of this task read them."""
    answers: list[dict[str, Any]] = []
    token = _heard.set(answers)
    try:
        yield answers
    finally:
        _heard.reset(token)


@functools.cache
def certificates() -> ssl.SSLContext:
    """Return whose certificates are trusted: every client that reads them itself takes 20 ms."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True)
class Vendor:
    """What a vendor's errors mean: a tag that is known decides, else its message, else the status.

    A status that is not named is transient from 500 on, a refused request from 400 on, and no
    answer below. `phrases`, in lower case, are looked for in the message of a 4xx other than 429,
    where the vendor uses one status for several things; the first that stands in it decides.
    `delays` is how long to stay away, in seconds, where the vendor does not say.
    """

    name: str
    statuses: Mapping[int, ErrorClass]
    tags: Mapping[str, ErrorClass] = field(default_factory=dict)
    phrases: Mapping[str, ErrorClass] = field(default_factory=dict)
    delays: Mapping[int, float] = field(default_factory=dict)

    def error(
        self,
        status: int,
        headers: Mapping[str, str],
        now: datetime,
        *,
        tag: str = "",
        message: str = "",
        request_id: str = "",
    ) -> SourceError:
        """Say what an answer other than a success means; `headers` are in lower case."""
        meanings = {**self.phrases, **self.tags}
        known = tag if tag in self.tags else self._phrase(status, message)
        delay = retry_after(headers.get("retry-after", ""), now)
        return SourceError(
            meanings.get(known) or self.statuses.get(status) or _by_hundred(status),
            f"{self.name} answered {status} {known}".rstrip(),
            retry_after=self.delays.get(status) if delay is None else delay,
            request_id=request_id,
        )

    def _phrase(self, status: int, message: str) -> str:
        if not 400 <= status < 429:
            return ""
        said = message.casefold()
        return next((phrase for phrase in self.phrases if phrase in said), "")

    def unreachable(self, reason: str, *, uncertain: bool) -> SourceError:
        """Return the error of a call that brought no whole answer."""
        return SourceError(ErrorClass.TRANSIENT, f"{self.name} {reason}", uncertain=uncertain)

    def invalid(self, reason: str, *, cost_micros: int = 0, request_id: str = "") -> SourceError:
        """Return the error of an answer that cannot be used."""
        message = f"{self.name} {reason}"
        return SourceError(
            ErrorClass.INVALID_ANSWER, message, cost_micros=cost_micros, request_id=request_id
        )

    def unreadable(self, reason: str) -> SourceError:
        """Return the error of a success that cannot be read: it may have been paid for."""
        message = f"{self.name} {reason}"
        return SourceError(ErrorClass.INVALID_ANSWER, message, uncertain=True)

    async def object_of(self, body: bytes) -> dict[str, Any]:
        """Return the body's JSON object with what cannot be stored replaced, or refuse it."""
        try:
            if len(body) > LARGE_BYTES:
                value = await asyncio.to_thread(read_json, body)
            else:
                value = read_json(body)
        except ValueError:
            raise self.unreadable("answered something else than JSON") from None
        if not isinstance(value, dict):
            raise self.unreadable("answered JSON that is not an object")
        if (heard := _heard.get()) is not None:
            heard.append(value)
        return value


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: of an error the body's beginning only."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def error_object(self) -> dict[str, Any]:
        """Return the JSON object of an error; empty where it is none."""
        try:
            value = read_json(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


async def send(
    client: httpx.AsyncClient,
    request: httpx.Request,
    vendor: Vendor,
    *,
    seconds: float,
    max_bytes: int = MAX_BYTES,
) -> Reply:
    """Send once and return what came within `seconds`; every other outcome is a SourceError."""
    try:
        async with asyncio.timeout(seconds):
            request.headers["accept-encoding"] = "gzip"
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = await _read(response, vendor, max_bytes)
            finally:
                await response.aclose()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        kind = type(error).__name__
        raise vendor.unreachable(f"is not reachable: {kind}", uncertain=False) from None
    except (TimeoutError, httpx.TimeoutException):
        raise vendor.unreachable("did not answer in time", uncertain=True) from None
    except httpx.TransportError as error:
        kind = type(error).__name__
        raise vendor.unreachable(f"broke off: {kind}", uncertain=True) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise vendor.unreadable(f"cannot be read: {type(error).__name__}") from None
    return Reply(response.status_code, response.headers, body)


async def _read(response: httpx.Response, vendor: Vendor, max_bytes: int) -> bytes:
    """Read a success within the limit; of an error only what may name its reason.

    It is unpacked here: httpx unpacks each piece whole, and 64 kB may hold hundreds of megabytes.
    """
    limit = max_bytes if response.status_code == 200 else MAX_ERROR_BYTES
    unpack = _unpacker(response, vendor)
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += unpack(chunk, limit + 1 - len(body))
        if len(body) > limit:
            if response.status_code == 200:
                raise vendor.unreadable(f"answered more than {max_bytes // 1024 // 1024} MB")
            break
    return bytes(body[:limit])


def _unpacker(response: httpx.Response, vendor: Vendor) -> Callable[[bytes, int], bytes]:
    """Return what unpacks a piece of the body up to a number of bytes."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return lambda chunk, most: chunk
    if encoding not in ("gzip", "x-gzip"):
        raise vendor.unreadable("answered in an encoding that was not asked for")
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def unpack(chunk: bytes, most: int) -> bytes:
        try:
            return stream.decompress(chunk, most)
        except zlib.error:
            raise vendor.unreadable("cannot be unpacked") from None

    return unpack


def _by_hundred(status: int) -> ErrorClass:
    if status >= 500:
        return ErrorClass.TRANSIENT
    return ErrorClass.REFUSED_REQUEST if status >= 400 else ErrorClass.INVALID_ANSWER


def retry_after(value: str, now: datetime) -> float | None:
    """Read Retry-After in seconds, which comes as seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    if value.strip().isdecimal():
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), MAX_RETRY_AFTER)


def texts(value: Any) -> tuple[str, ...]:
    """Read a field that vendors fill with a string, a list, or nothing; repeats are dropped."""
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(filter(None, (text(item) for item in items))))


def text(value: Any, limit: int = 500) -> str:
    """Read a text field, bounded; anything else is empty."""
    return value[:limit].strip() if isinstance(value, str) else ""


def dollars_in_micros(value: Any) -> int | None:
    """Read an amount that a call may cost; None where it is none."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        dollars = Decimal(str(value))
        return int(dollars * 1_000_000) if 0 <= dollars <= MAX_DOLLARS else None
    except InvalidOperation:
        return None
