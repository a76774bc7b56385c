"""Lists are read page by page, no further than their reader goes."""

from __future__ import annotations

from itertools import islice

from prospect.activity.v1 import activity_service_pb2 as pb

from services.cli.terminal.pages import MAX_PAGE, page_size, pages

PAGES = {"": (("a", "b"), "2"), "2": (("c",), "3"), "3": ((), "")}


def ids(asked: list[str], limit: int | None = None) -> list[str]:
    """List what the pages hold."""

    def ask(request: pb.ListActivitiesRequest) -> pb.ListActivitiesResponse:
        asked.append(request.page_token)
        found, token = PAGES[request.page_token]
        entries = [pb.Activity(activity_id=each) for each in found]
        return pb.ListActivitiesResponse(activities=entries, next_page_token=token)

    read = pages(ask, pb.ListActivitiesRequest())
    return list(islice((each.activity_id for page in read for each in page.activities), limit))


def test_all_pages_are_read_to_the_last() -> None:
    asked: list[str] = []
    assert (ids(asked), asked) == (["a", "b", "c"], ["", "2", "3"])


def test_no_page_is_asked_for_beyond_the_limit() -> None:
    asked: list[str] = []
    assert (ids(asked, 2), asked) == (["a", "b"], [""])


def test_a_page_holds_no_more_than_is_wanted() -> None:
    assert [page_size(each) for each in (5, 5_000, None)] == [5, MAX_PAGE, MAX_PAGE]
