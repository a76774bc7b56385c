"""What the SEC client finds in the sandbox's EDGAR, over real HTTP."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from starlette.responses import Response

from services.enrichment.sources.findings import Person, to_json
from tests.enrichment.sources.edgar.fake_edgar import (
    ADAMS,
    APPLE_XML,
    NOW,
    ONE,
    SCARPELLI,
    Make,
    about,
    fake,
    feed,
    found,
)
from tests.enrichment.sources.serving import serve


async def test_the_trades_of_a_person_are_found(make: Make, sandbox: str) -> None:
    trades = found(await make(sandbox).ask(about(ADAMS))).trades
    assert [trade.shares for trade in trades] == [9136, 5316, 4006, 900, 1550, 1800, 2292]


async def test_a_trade_tells_all_that_the_filing_does(make: Make, sandbox: str) -> None:
    trade = found(await make(sandbox).ask(about(ADAMS))).trades[0]
    plan, prices = trade.footnotes
    assert plan.startswith("This transaction was made pursuant to a Rule 10b5-1 trading plan")
    assert prices.startswith("This transaction was executed in multiple trades")
    assert to_json(replace(trade, footnotes=(), footnotes_by_field=())) == {
        "accession_number": "0000320193-22-000061",
        "table": "non_derivative",
        "row": 0,
        "form": "4",
        "filing_url": f"{sandbox}/Archives/edgar/data/320193/000032019322000061"
        "/wf-form4_165187623819106.xml",
        "owner_name": "Adams Katherine L.",
        "owner_cik": 1462356,
        "owner_role": "officer (SVP, GC and Secretary)",
        "security_title": "Common Stock",
        "transaction_date": "2022-05-04",
        "transaction_code": "S",
        "transaction_kind": "open market or private sale",
        "is_market_trade": True,
        "acquired_disposed": "D",
        "shares": "9136",
        "price_per_share": "159.94",
        "shares_owned_after": "468198",
        "under_10b5_1_plan": True,
        "footnotes": [],
        "fetched_at": "2026-11-24T12:00:00+00:00",
        "superseded_by": "",
        "ownership": "D",
        "ownership_nature": "",
        "in_doubt": "",
        "is_plan_box_checked": False,
        "footnotes_by_field": [],
    }


async def test_the_finding_names_issuer_and_provenance(make: Make, sandbox: str) -> None:
    finding = found(await make(sandbox).ask(about(ADAMS)))
    assert (finding.issuer_cik, finding.issuer_name) == (320193, "Apple Inc.")
    assert finding.filings_read == 1
    assert finding.provenance.url == f"{sandbox}/submissions/CIK0000320193.json"
    assert finding.provenance.fetched_at == NOW


async def test_rows_of_both_tables_are_told_apart(make: Make, sandbox: str) -> None:
    trades = found(await make(sandbox).ask(about(SCARPELLI))).trades
    rows = [(trade.table, trade.row) for trade in trades]
    assert sorted(rows) == [("derivative", 0), *(("non_derivative", row) for row in range(6))]


async def test_only_sales_and_purchases_are_market_trades(make: Make, sandbox: str) -> None:
    trades = found(await make(sandbox).ask(about(SCARPELLI))).trades
    assert sum(trade.shares or 0 for trade in trades if trade.is_market_trade) == 200_000


async def test_a_gift_at_no_price_costs_zero(make: Make, sandbox: str) -> None:
    person = replace(SCARPELLI, name="John McMahon")
    (gift,) = found(await make(sandbox).ask(about(person))).trades
    assert (gift.form, gift.transaction_code, gift.price_per_share) == ("5", "G", Decimal(0))


@pytest.mark.parametrize(
    ("name", "cik"),
    [
        ("Warren Buffett", 1640147),  # filed a Form 3 only
        ("Karen Adams", 320193),
        ("Katherine Adams", 1640147),  # of another company
        ("Katherine Adams", 998),  # unknown to EDGAR
        ("Katherine Adams", 1462356),  # insiderTransactionForIssuerExists is 0
    ],
)
async def test_a_person_or_company_without_trades_is_an_answer(
    make: Make, sandbox: str, name: str, cik: int
) -> None:
    answer = await make(sandbox).ask(about(Person(name, "", company_cik=cik)))
    assert answer.finding is None


async def test_a_document_of_another_issuer_does_not_count(make: Make) -> None:
    other = APPLE_XML.replace(b"<issuerCik>0000320193<", b"<issuerCik>0001640147<")
    async with serve(fake(ONE, feed(Response(other)))) as url:
        assert (await make(url).ask(about(ADAMS))).finding is None


async def test_a_trade_tells_when_its_filing_was_fetched(make: Make, sandbox: str) -> None:
    finding = found(await make(sandbox).ask(about(ADAMS)))
    assert {trade.fetched_at for trade in finding.trades} == {NOW}
    assert [match.owner_name for match in finding.owner_matches] == ["Adams Katherine L."]
