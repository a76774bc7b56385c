"""How far back a company's filings are read, and that the answer says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.edgar import client
from services.enrichment.sources.findings import Person
from tests.enrichment.sources.edgar.fake_edgar import NOW, Make, fake, found, page, submissions
from tests.enrichment.sources.edgar.made import CIK, document, row
from tests.enrichment.sources.serving import serve

JANE = Person("Jane Roe", "Acme", company_cik=CIK, is_public_company=True)
TODAY = NOW.date()
OTHERS = document(row(), owner="DOE JOHN", owner_cik=1)
AS_OWNER = OTHERS.replace(b"<issuerCik>999<", b"<issuerCik>555<")
OLDER = f"CIK{CIK:010d}-submissions-001.json"


class Edgar:
    """Answers filings by their age in days, each at an accession number of its own."""

    def __init__(
        self, filings: list[tuple[int, bytes]], older: Sequence[tuple[int, bytes]] = ()
    ) -> None:
        self.asked: list[str] = []
        self._documents: dict[str, bytes] = {}
        self._newest, self._older = self._rows(filings), self._rows(older)

    def _rows(self, filings: Sequence[tuple[int, bytes]]) -> list[dict[str, str]]:
        rows = []
        for age, content in filings:
            accession = f"0000000999-24-{len(self._documents):06d}"
            self._documents[accession.replace("-", "")] = content
            filed_on = (TODAY - timedelta(days=age)).isoformat()
            rows.append(
                {
                    "accessionNumber": accession,
                    "form": "4",
                    "filingDate": filed_on,
                    "primaryDocument": "form4.xml",
                }
            )
        return rows

    def routes(self) -> list[Route]:
        async def index(request: Request) -> Response:
            if request.path_params["name"] == OLDER:
                self.asked.append(OLDER)
                return JSONResponse(page(self._older))
            body: dict[str, Any] = submissions(*self._newest)
            if self._older:
                newest = self._older[0]["filingDate"]
                body["filings"]["files"] = [{"name": OLDER, "filingTo": newest}]
            return JSONResponse(body)

        async def answer(request: Request) -> Response:
            self.asked.append(request.path_params["accession"])
            return Response(self._documents[request.path_params["accession"]])

        return fake(index, answer)


async def ask(make: Make, edgar: Edgar, days: int = 0, **settings: Any) -> Answer:
    async with serve(edgar.routes()) as url:
        source = make(url, pace=at_once, **settings)
        answer = await source.ask(SourceCall(JANE, {}, look_back_days=days))
        assert isinstance(answer, Answer)
        return answer


async def at_once() -> None:
    """The pace of an engine that lets every request go."""


def back_to(answer: Answer) -> date | None:
    return found(answer).read_back_to


HERS = document(row(7, day="2024-03-15"))


async def test_filings_in_which_the_company_is_the_owner_do_not_use_the_number_up(
    make: Make,
) -> None:
    newest = [(number, AS_OWNER) for number in range(400, 440)]
    finding = found(await ask(make, Edgar([*newest, (500, HERS)])))
    assert (finding.filings_read, len(finding.trades)) == (1, 1)


async def test_a_year_is_read_however_many_filings_it_has(make: Make) -> None:
    within = [(age, OTHERS) for age in range(1, 60)]
    answer = await ask(make, Edgar([*within, (365, HERS), (366, OTHERS)]), max_filings=2)
    assert found(answer).filings_read == 60
    assert back_to(answer) == TODAY - timedelta(days=365)


async def test_so_many_filings_are_read_though_they_are_older_than_a_year(make: Make) -> None:
    filings = [(400, OTHERS), (500, HERS), (600, OTHERS)]
    answer = await ask(make, Edgar(filings), max_filings=2)
    assert (found(answer).filings_read, back_to(answer)) == (2, TODAY - timedelta(days=599))


async def test_the_policy_says_how_far_back_is_read(make: Make) -> None:
    edgar = Edgar([(1, OTHERS), (40, OTHERS), (900, HERS), (1001, OTHERS)])
    answer = await ask(make, edgar, days=1000, max_filings=1)
    assert (found(answer).filings_read, back_to(answer)) == (3, TODAY - timedelta(days=1000))


async def test_an_older_page_within_the_year_is_read(make: Make) -> None:
    edgar = Edgar([(10, OTHERS)], older=[(20, HERS), (30, OTHERS)])
    answer = await ask(make, edgar, max_filings=1)
    assert (found(answer).filings_read, back_to(answer)) == (3, TODAY - timedelta(days=365))


async def test_an_older_page_from_before_the_year_is_left(make: Make) -> None:
    edgar = Edgar([(10, HERS)], older=[(400, HERS)])
    answer = await ask(make, edgar, max_filings=1)
    assert OLDER not in edgar.asked
    assert back_to(answer) == TODAY - timedelta(days=399)


async def test_where_all_is_read_the_oldest_filing_says_how_far_back(make: Make) -> None:
    answer = await ask(make, Edgar([(10, HERS), (2000, OTHERS)]))
    assert back_to(answer) == TODAY - timedelta(days=2000)


async def test_a_call_fetches_so_many_documents_at_most_and_says_so(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_FILINGS", 3)
    answer = await ask(make, Edgar([(1, HERS), (2, OTHERS), (3, OTHERS), (4, OTHERS)]))
    assert (found(answer).filings_read, back_to(answer)) == (3, TODAY - timedelta(days=3))


async def test_no_trades_says_how_far_back_was_read(make: Make) -> None:
    answer = await ask(make, Edgar([(1, OTHERS), (2, b"<no/>"), (400, OTHERS)]), max_filings=1)
    assert answer.finding is None
    assert answer.note == (
        "no trades of the person in the company's 2 filings since "
        f"{TODAY - timedelta(days=399)}, 1 of which could not be read"
    )


async def test_two_owners_who_may_be_meant_are_told_as_such(make: Make) -> None:
    son = document(row(), owner="ROE JANE JR", owner_cik=2)
    answer = await ask(make, Edgar([(1, HERS), (2, son)]))
    assert answer.finding is None
    assert answer.note.startswith("more than one owner may be meant in the company's 2 filings")


async def test_filings_that_cannot_be_read_are_counted(make: Make) -> None:
    assert found(await ask(make, Edgar([(1, HERS), (2, b"<no/>")]))).filings_unread == 1


async def test_where_none_can_be_read_the_call_fails(make: Make) -> None:
    with pytest.raises(SourceError) as caught:
        await ask(make, Edgar([(1, b"<no/>"), (2, b"<html></html>")]))
    assert caught.value.error_class is ErrorClass.INVALID_ANSWER
