"""Reading a list page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

MAX_PAGE = 1_000


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


Page = TypeVar("Page", bound=_Page)


def pages(ask: Callable[[Any], Page], request: Any) -> Iterator[Page]:
    """Yield the pages that answer a request, as its reader comes to them."""
    while True:
        page = ask(request)
        yield page
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def page_size(limit: int | None) -> int:
    """Return how many to ask for at once where a reader takes so many; None takes all."""
    return MAX_PAGE if limit is None else min(limit, MAX_PAGE)
