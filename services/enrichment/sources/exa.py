"""Exa: pages on the web about the person and the company.

API: https://exa.ai/docs/reference (POST /search with contents), its errors: …/error-codes.
Error tags are open-ended: those that we know decide, else the status. What comes is a neural
search's guess, so a page that names neither the person nor the company is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import httpx
import structlog

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Person, Provenance, WebFindings, WebPage
from services.enrichment.sources.http import (
    Reply,
    Vendor,
    dollars_in_micros,
    send,
    text,
    texts,
)

VENDOR = Vendor(
    "Exa",
    {
        401: ErrorClass.AUTH,
        402: ErrorClass.QUOTA,
        403: ErrorClass.AUTH,  # a valid key without the permission
        408: ErrorClass.TRANSIENT,
        409: ErrorClass.TRANSIENT,
        429: ErrorClass.THROTTLED,
    },
    tags={
        "INVALID_API_KEY": ErrorClass.AUTH,
        "NO_MORE_CREDITS": ErrorClass.QUOTA,
        "API_KEY_BUDGET_EXCEEDED": ErrorClass.QUOTA,
        "INVALID_REQUEST": ErrorClass.REFUSED_REQUEST,
        "INVALID_REQUEST_BODY": ErrorClass.REFUSED_REQUEST,
        # One query that Exa's content policy refuses; a team that repeats them is blocked.
        "PROHIBITED_CONTENT": ErrorClass.REFUSED_REQUEST,
        "TEAM_BLOCKED": ErrorClass.AUTH,
    },
)
PAGES = 5
EXCERPT = 1_000
_log = structlog.get_logger()


class Exa:
    """Exa as a source."""

    name = SourceName.EXA

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        api_key: str,
        *,
        clock: Callable[[], datetime],
        seconds: float = 30,
    ) -> None:
        self._client = client
        self._url = f"{base_url.rstrip('/')}/search"
        self._headers = {"x-api-key": api_key}
        self._clock = clock
        self._seconds = seconds

    async def ask(self, call: SourceCall) -> Answer:
        """Return pages about the person; no finding where there are none."""
        body = {
            "query": _query(call.person),
            "type": "auto",
            "numResults": PAGES,
            "contents": {"text": {"maxCharacters": EXCERPT}},
        }
        request = self._client.build_request("POST", self._url, json=body, headers=self._headers)
        reply = await send(self._client, request, VENDOR, seconds=self._seconds)
        answer = await self._opened(reply)
        cost, request_id = _cost(answer), text(answer.get("requestId"))
        results = answer.get("results")
        if not isinstance(results, list):
            raise VENDOR.invalid(
                "answered without results", cost_micros=cost, request_id=request_id
            )
        found = (_page(each) for each in results if isinstance(each, dict))
        pages = tuple(page for page in found if page.url and _is_about(page, call.person))
        if not pages:
            return Answer(None, cost, request_id)
        provenance = Provenance(self.name, self._url, request_id, self._clock())
        return Answer(WebFindings(pages[:PAGES], provenance), cost, request_id)

    async def _opened(self, reply: Reply) -> dict[str, Any]:
        """Return the answer's object; a 200 may carry an error inside."""
        if reply.status != 200:
            said = reply.error_object()
            tag, request_id = text(said.get("tag")), text(said.get("requestId"))
            raise VENDOR.error(
                reply.status, reply.headers, self._clock(), tag=tag, request_id=request_id
            )
        answer = await VENDOR.object_of(reply.body)
        if "error" in answer:
            cost, request_id = _cost(answer), text(answer.get("requestId"))
            error = VENDOR.error(200, reply.headers, self._clock(), tag=text(answer.get("tag")))
            error.cost_micros, error.request_id = cost, request_id
            raise error
        return answer


def _query(person: Person) -> str:
    return " ".join(filter(None, (person.name, person.title, person.company)))


def _page(result: dict[str, Any]) -> WebPage:
    url = text(result.get("url"), 2_000)
    highlights = " ".join(texts(result.get("highlights")))
    return WebPage(
        title=text(result.get("title")),
        url=url if url.startswith(("https://", "http://")) else "",
        published_on=_day(result.get("publishedDate")),
        author=text(result.get("author")),
        excerpt=text(result.get("text") or highlights or result.get("summary"), EXCERPT),
    )


def _is_about(page: WebPage, person: Person) -> bool:
    """Whether the page has the person's last name or the company's first word in it."""
    said = _plain(f"{page.title} {page.author} {page.excerpt} {page.url}")
    wanted = {*_plain(person.name).split()[-1:], *_plain(person.company).split()[:1]}
    return not wanted.isdisjoint(said.split())


def _plain(value: str) -> str:
    folded = unicodedata.normalize("NFKD", value.casefold())
    return re.sub(r"\W+", " ", "".join(c for c in folded if not unicodedata.combining(c)))


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(text(value)[:10])
    except ValueError:
        return None


def _cost(answer: dict[str, Any]) -> int:
    """Return costDollars.total in micro-dollars; the list price where it says no amount."""
    dollars = answer.get("costDollars")
    told = dollars_in_micros(dollars.get("total")) if isinstance(dollars, dict) else None
    if told is not None:
        return told
    price = SOURCES[SourceName.EXA].max_cost_micros
    _log.warning("an answer without its cost", source=SourceName.EXA.value, counted_micros=price)
    return price
