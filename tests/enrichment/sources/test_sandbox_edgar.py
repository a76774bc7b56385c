"""The sandbox's EDGAR answers as the real one does, from the filings that it holds."""

from __future__ import annotations

import json

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from devstack.sandbox import edgar
from devstack.stack import ROOT
from services.enrichment.sources.edgar.ownership import parse_ownership

DATA = ROOT / "devstack/sandbox/data"
CONTACT = {"User-Agent": "Prospect Platform tests@example.com"}
APPLE = "/submissions/CIK0000320193.json"
SNOWFLAKE = "/submissions/CIK0001640147.json"
ADAMS_FORM = "wf-form4_165187623819106.xml"
ADAMS_FOLDER = "/Archives/edgar/data/320193/000032019322000061"


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> TestClient:
    return TestClient(Starlette(routes=edgar.routes(DATA, now=clock)), headers=CONTACT)


def test_a_real_feed_is_cut_down_to_held_filings(client: TestClient) -> None:
    real = json.loads((DATA / "sec/submissions/CIK0000320193.json").read_text())
    recent = real["filings"]["recent"]
    place = recent["accessionNumber"].index("0000320193-22-000061")
    assert client.get(APPLE).json()["filings"] == {
        "recent": {column: [values[place]] for column, values in recent.items()},
        "files": [],
    }


def test_a_made_feed_has_the_columns_of_a_real_one(client: TestClient) -> None:
    made, real = (client.get(path).json()["filings"]["recent"] for path in (SNOWFLAKE, APPLE))
    assert list(made) == list(real)


def test_a_made_feed_names_the_rendered_document(client: TestClient) -> None:
    recent = client.get(SNOWFLAKE).json()["filings"]["recent"]
    forms = dict(zip(recent["form"], recent["primaryDocument"], strict=True))
    assert forms == {
        "4": "xslF345X03/edgardoc.xml",
        "5": "xslF345X03/form5.xml",
        "3": "xslF345X02/doc3.xml",
    }


@pytest.mark.parametrize("cik", [1640147, 1067983, 315090])
def test_a_filing_stands_in_every_feed_that_it_names(client: TestClient, cik: int) -> None:
    feed = client.get(f"/submissions/CIK{cik:010d}.json").json()
    assert "0000000000-20-000002" in feed["filings"]["recent"]["accessionNumber"]


@pytest.mark.parametrize("held", edgar.load(DATA).filings, ids=lambda held: held.accession)
def test_every_held_document_is_answered(client: TestClient, held: edgar.HeldFiling) -> None:
    folder = f"/Archives/edgar/data/{held.document.issuer.cik}/{held.accession.replace('-', '')}"
    answer = client.get(f"{folder}/{held.document_name}")
    assert parse_ownership(answer.content) == held.document


def test_a_submission_is_answered_as_raw_xml(client: TestClient) -> None:
    assert client.get(f"{ADAMS_FOLDER}/{ADAMS_FORM}").text.startswith("<?xml")


def test_the_xsl_folder_is_rendered_html(client: TestClient) -> None:
    answer = client.get(f"{ADAMS_FOLDER}/xslF345X03/{ADAMS_FORM}")
    assert answer.headers["content-type"].startswith("text/html")
    assert "159.94" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/submissions/CIK0000000998.json",
        "/submissions/CIK320193.json",
        f"{ADAMS_FOLDER}/other.xml",
        f"/Archives/edgar/data/999/000032019322000061/{ADAMS_FORM}",
        f"{ADAMS_FOLDER}/xslF345X09/{ADAMS_FORM}",
    ],
)
def test_what_is_not_held_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_no_contact_is_an_undeclared_tool(client: TestClient) -> None:
    answer = client.get(APPLE, headers={"User-Agent": "python-httpx"})
    assert answer.status_code == 403
    assert "Undeclared Automated Tool" in answer.text


def test_the_eleventh_request_in_a_second_is_refused(client: TestClient) -> None:
    answers = [client.get(APPLE) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [403]
    assert "Request Rate Threshold Exceeded" in answers[-1].text


def test_after_a_second_requests_are_answered_again(client: TestClient, clock: Clock) -> None:
    for _ in range(11):
        client.get(APPLE)
    clock.seconds = 1.0
    assert client.get(APPLE).status_code == 200
