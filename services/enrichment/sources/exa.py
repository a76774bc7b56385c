"""Exa: pages on the web about the person and the company.

API: https://api.exa.ai (POST /search with contents). Error tags are open-ended: the status decides.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx

from services.enrichment.findings import (
    Answer,
    ErrorClass,
    Provenance,
    SourceCall,
    SourceName,
    WebFindings,
    WebPage,
)
from services.enrichment.sources.http import StatusTable, ask, invalid, text

ERRORS: StatusTable = {
    400: ErrorClass.REFUSED_REQUEST,
    401: ErrorClass.AUTH,
    402: ErrorClass.QUOTA,
    403: ErrorClass.AUTH,
    408: ErrorClass.TRANSIENT,
    409: ErrorClass.TRANSIENT,
    422: ErrorClass.REFUSED_REQUEST,
    429: ErrorClass.THROTTLED,
}
PAGES = 5
EXCERPT = 1_000


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
    ) -> None:
        self._client = client
        self._url = f"{base_url.rstrip('/')}/search"
        self._headers = {"x-api-key": api_key}
        self._clock = clock

    async def ask(self, call: SourceCall) -> Answer:
        """Return pages about the subject; no finding where there are none."""
        subject = call.subject
        body = {
            "query": f"{subject.name} {subject.title} {subject.company}".replace("  ", " "),
            "type": "auto",
            "numResults": PAGES,
            "contents": {"text": {"maxCharacters": EXCERPT}},
        }
        request = self._client.build_request("POST", self._url, json=body, headers=self._headers)
        answer = await ask(self._client, request, vendor="Exa", table=ERRORS, now=self._clock())
        if answer is None:
            raise invalid("Exa has no such address")
        results = answer.get("results")
        if not isinstance(results, list) or "error" in answer:
            raise invalid("Exa answered without results")
        cost, request_id = _cost(answer), text(answer.get("requestId"))
        pages = tuple(_page(each) for each in results if isinstance(each, dict) and each.get("url"))
        if not pages:
            return Answer(None, cost, request_id)
        provenance = Provenance(self.name, self._url, request_id, self._clock())
        return Answer(WebFindings(pages[:PAGES], provenance), cost, request_id)


def _page(result: dict[str, Any]) -> WebPage:
    return WebPage(
        title=text(result.get("title")),
        url=text(result.get("url"), 2_000),
        published_on=_day(result.get("publishedDate")),
        author=text(result.get("author")),
        excerpt=text(result.get("text") or result.get("summary"), EXCERPT),
    )


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def _cost(answer: dict[str, Any]) -> int:
    """Return costDollars.total in micro-dollars."""
    dollars = answer.get("costDollars")
    total = dollars.get("total") if isinstance(dollars, dict) else 0
    try:
        return max(0, int(Decimal(str(total or 0)) * 1_000_000))
    except (InvalidOperation, ValueError, OverflowError):
        return 0
