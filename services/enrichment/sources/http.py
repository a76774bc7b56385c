"""One bounded HTTP call: a body of at most 5 MB, and every failure a SourceError with its class.

It never retries: the run owns retries, since two layers of them multiply paid calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from services.enrichment.findings import ErrorClass, SourceError

MAX_BODY_BYTES = 5 * 1024 * 1024
LONGEST_RETRY_AFTER = 86_400.0
StatusTable = Mapping[int, ErrorClass]


async def ask(
    client: httpx.AsyncClient,
    request: httpx.Request,
    *,
    vendor: str,
    table: StatusTable,
    now: datetime,
) -> dict[str, Any] | None:
    """Return the JSON object of the answer; None for 404; `table` says what other statuses mean."""
    try:
        response = await client.send(request, stream=True)
        try:
            body = await _read(response, vendor)
        finally:
            await response.aclose()
    except httpx.TimeoutException as error:
        raise SourceError(ErrorClass.TRANSIENT, f"{vendor} did not answer in time") from error
    except httpx.TransportError as error:
        kind = type(error).__name__
        raise SourceError(ErrorClass.TRANSIENT, f"{vendor} is not reachable: {kind}") from error
    except httpx.HTTPError as error:
        raise invalid(f"{vendor}'s answer cannot be read: {type(error).__name__}") from error
    if response.status_code == 404:
        return None
    if response.status_code != 200:
        raise status_error(response.status_code, response.headers, vendor, table, now)
    return json_object(body, vendor)


async def _read(response: httpx.Response, vendor: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise invalid(f"{vendor} answered more than 5 MB")
    return bytes(body)


def status_error(
    status: int, headers: Mapping[str, str], vendor: str, table: StatusTable, now: datetime
) -> SourceError:
    """Say what a status means at this vendor."""
    fallback = ErrorClass.TRANSIENT if status >= 500 else ErrorClass.REFUSED_REQUEST
    delay = retry_after(headers.get("retry-after", ""), now)
    return SourceError(
        table.get(status, fallback), f"{vendor} answered {status}", retry_after=delay
    )


def json_object(body: bytes, vendor: str) -> dict[str, Any]:
    """Return the body's JSON object, or refuse the answer."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"{vendor} answered something else than JSON") from error
    if not isinstance(value, dict):
        raise invalid(f"{vendor} answered JSON that is not an object")
    return value


def retry_after(value: str, now: datetime) -> float | None:
    """Read Retry-After in seconds, which comes as seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    if value.strip().isdecimal():
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), LONGEST_RETRY_AFTER)


def invalid(message: str) -> SourceError:
    """Return the error of an answer that cannot be used."""
    return SourceError(ErrorClass.INVALID_ANSWER, message)


def texts(value: Any) -> tuple[str, ...]:
    """Read a field that vendors fill with a string, a list, or nothing; repeats are dropped."""
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(item.strip() for item in items if isinstance(item, str) and item))


def text(value: Any, limit: int = 500) -> str:
    """Read a text field, bounded; anything else is empty. A zero character fits no database."""
    return value.replace("\0", "")[:limit].strip() if isinstance(value, str) else ""
