"""Which requests the SEC client makes, how many of them and how fast."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.sandbox import edgar
from services.enrichment.sources.call import ErrorClass, SourceError
from services.enrichment.sources.findings import Person
from tests.enrichment.sources.edgar.fake_edgar import (
    ADAMS,
    APPLE_XML,
    CONTACT,
    DATA,
    ONE,
    XML,
    Make,
    about,
    fake,
    feed,
    found,
    page,
    row,
    submissions,
)
from tests.enrichment.sources.serving import Pace, serve


async def test_a_company_without_a_number_is_not_asked_about(make: Make) -> None:
    with pytest.raises(SourceError) as caught:
        await make("http://unused.invalid").ask(about(replace(ADAMS, company_cik=None)))
    assert caught.value.error_class is ErrorClass.REFUSED_REQUEST


async def test_a_filing_is_fetched_once(make: Make) -> None:
    # Nine times the index and once the filing are the ten requests that one second allows.
    async with serve(edgar.routes(DATA, now=lambda: 0.0)) as url:
        source = make(url)
        for _ in range(9):
            found(await source.ask(about(ADAMS)))


async def test_every_request_names_us(make: Make) -> None:
    agents = []

    async def index(request: Request) -> Response:
        agents.append(request.headers["user-agent"])
        return await ONE(request)

    async def document(request: Request) -> Response:
        agents.append(request.headers["user-agent"])
        return await XML(request)

    async with serve(fake(index, document)) as url:
        await make(url).ask(about(ADAMS))
    assert agents == [CONTACT, CONTACT]


OLDER = "CIK0000320193-submissions-001.json"


def paged(recent: dict[str, str], older: dict[str, str], asked: list[str]) -> list[Route]:
    async def index(request: Request) -> Response:
        asked.append(request.path_params["name"])
        body = page([older]) if asked[-1] == OLDER else submissions(recent, files=(OLDER,))
        return JSONResponse(body)

    return fake(index, XML)


async def test_older_pages_are_read_while_filings_are_few(make: Make) -> None:
    recent = row("0000320193-22-000099", form="10-K")
    async with serve(paged(recent, row("0000320193-22-000061"), [])) as url:
        assert len(found(await make(url).ask(about(ADAMS))).trades) == 7


async def test_older_pages_are_left_when_filings_are_enough(make: Make) -> None:
    asked: list[str] = []
    recent, older = row("0000320193-22-000061"), row("0000320193-12-000001", "2012-01-01")
    async with serve(paged(recent, older, asked)) as url:
        await make(url, max_filings=1).ask(about(ADAMS))
    assert asked == ["CIK0000320193.json"]


async def test_the_newest_filings_are_read_first(make: Make) -> None:
    older, newer = row("0000000000-20-000001", "2020-01-01"), row("0000000000-22-000002")
    index = feed(JSONResponse(submissions(older, newer)))
    async with serve(fake(index, XML)) as url:
        finding = found(await make(url, max_filings=1).ask(about(ADAMS)))
    assert {trade.accession_number for trade in finding.trades} == {"0000000000-22-000002"}


async def test_the_real_older_page_of_a_company_is_read(make: Make) -> None:
    folder = DATA / "sec/submissions"
    feed_of_tesla = json.loads((folder / "CIK0001318605.json").read_text())
    recent = feed_of_tesla["filings"]["recent"]
    recent.update({column: values[-30:] for column, values in recent.items()})
    ours = [form in ("4", "4/A", "5", "5/A") for form in recent["form"]].count(True)
    asked: list[str] = []

    async def index(request: Request) -> Response:
        if request.path_params["name"] == "CIK0001318605.json":
            return JSONResponse(feed_of_tesla)
        return Response((folder / request.path_params["name"]).read_bytes())

    async def document(request: Request) -> Response:
        asked.append(request.path_params["accession"])
        return Response(APPLE_XML.replace(b">0000320193<", b">0001318605<"))

    async with serve(fake(index, document)) as url:
        source = make(url, max_filings=ours + 2, pace=at_once)
        await source.ask(about(Person("Elon Musk", "Tesla", company_cik=1318605)))
    older = json.loads((folder / "CIK0001318605-submissions-001.json").read_text())
    pages = {number.replace("-", "") for number in older["accessionNumber"]}
    assert len(asked) == ours + 2
    assert sum(accession in pages for accession in asked) == 2


async def at_once() -> None:
    """The pace of an engine that lets every request go."""


async def test_the_engines_pace_is_awaited_before_each_request(make: Make, sandbox: str) -> None:
    turns = []

    async def pace() -> None:
        turns.append(1)

    await make(sandbox, pace=pace).ask(about(ADAMS))
    assert len(turns) == 2  # the index and one filing


async def test_at_most_ten_requests_start_in_a_second() -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace, starts = Pace(now=lambda: now, sleep=sleep), []
    for _ in range(35):
        await pace.wait()
        starts.append(now)
    assert max(sum(s <= other < s + 1 for other in starts) for s in starts) == 10
