"""A vendor's answer is unpacked within its limit, whatever its packing says."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.enrichment.sources.call import ErrorClass, SourceError
from services.enrichment.sources.http import MAX_BYTES, MAX_ERROR_BYTES, Reply, Vendor, send
from tests.enrichment.sources.serving import serve

VENDOR = Vendor("Vendor", {})
ANSWER = json.dumps({"found": "x" * 200_000}).encode()
BOMB = gzip.compress(b" " * 100_000_000)


def packed(content: bytes, encoding: str, status: int = 200) -> Response:
    return Response(content, status, headers={"content-encoding": encoding})


async def answer(request: Request) -> Response:
    """Answer as the path says."""
    assert request.headers["accept-encoding"] == "gzip"
    return {
        "plain": Response(ANSWER),
        "gzip": packed(gzip.compress(ANSWER), "gzip"),
        "identity": packed(ANSWER, "identity"),
        "broken": packed(b"no gzip at all", "gzip"),
        "bomb": packed(BOMB, "gzip"),
        "bomb-error": packed(BOMB, "gzip", 500),
        "twice": packed(gzip.compress(BOMB), "gzip, gzip"),
        "other": packed(zlib.compress(ANSWER), "deflate"),
    }[request.path_params["what"]]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serve([Route("/{what}", answer)]) as url:
        yield url


async def asked(url: str, what: str) -> Reply:
    async with httpx.AsyncClient() as client:
        return await send(client, client.build_request("GET", f"{url}/{what}"), VENDOR, seconds=30)


@pytest.mark.parametrize("what", ["plain", "identity", "gzip"])
async def test_an_answer_is_read_packed_or_not(url: str, what: str) -> None:
    assert (await asked(url, what)).body == ANSWER


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("bomb", "more than 5 MB"),
        ("twice", "an encoding that was not asked for"),
        ("other", "an encoding that was not asked for"),
        ("broken", "cannot be unpacked"),
    ],
)
async def test_an_answer_that_cannot_be_unpacked_within_the_limit_is_refused(
    url: str, what: str, told: str
) -> None:
    tracemalloc.start()
    with pytest.raises(SourceError, match=told) as refused:
        await asked(url, what)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.error_class is ErrorClass.INVALID_ANSWER
    assert refused.value.uncertain
    assert most < 4 * MAX_BYTES


async def test_of_an_error_only_the_beginning_is_unpacked(url: str) -> None:
    reply = await asked(url, "bomb-error")
    assert (reply.status, len(reply.body)) == (500, MAX_ERROR_BYTES)
