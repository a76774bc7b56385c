"""What is added up of a person's trades, and what never is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from services.enrichment.sources.catalogue import SourceName, from_json
from services.enrichment.sources.facts import facts_of
from services.enrichment.sources.findings import InsiderTrade, InsiderTrades, Provenance, to_json
from services.enrichment.sources.insider_trade import market_totals

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SALE = InsiderTrade(
    "0000000000-24-000001", "non_derivative", 0, "4", "https://sec.example/1", "DOE JANE", 9,
    "director", "Common Stock", "S", "open market or private sale", True, "D", False, (),
    transaction_date=date(2024, 3, 1), shares=Decimal(1200), ownership="D",
)  # fmt: skip


def totals(*rows: InsiderTrade) -> list[tuple[str, str, str, int]]:
    return [
        (each.transaction_code, each.security_title, each.ownership, int(each.shares))
        for each in market_totals(rows)
    ]


def test_trades_of_one_security_are_added_up() -> None:
    (total,) = market_totals([SALE, replace(SALE, transaction_date=date(2024, 2, 1))])
    assert (int(total.shares), total.first, total.last) == (
        2400,
        date(2024, 2, 1),
        date(2024, 3, 1),
    )


def test_common_and_depositary_shares_are_never_added() -> None:
    ads = replace(SALE, security_title="American Depositary Shares", shares=Decimal(17))
    assert totals(SALE, ads) == [
        ("S", "Common Stock", "D", 1200),
        ("S", "American Depositary Shares", "D", 17),
    ]


def test_two_classes_are_never_added() -> None:
    a, b = (replace(SALE, security_title=f"Class {each} Common Stock") for each in "AB")
    assert [title for _, title, _, _ in totals(a, b)] == [a.security_title, b.security_title]


def test_one_security_in_two_spellings_is_added() -> None:
    assert totals(SALE, replace(SALE, security_title="COMMON  STOCK.")) == [
        ("S", "Common Stock", "D", 2400)
    ]


def test_direct_and_indirect_holdings_are_never_added() -> None:
    assert totals(SALE, replace(SALE, ownership="I")) == [
        ("S", "Common Stock", "D", 1200),
        ("S", "Common Stock", "I", 1200),
    ]


def test_purchases_and_sales_are_never_added() -> None:
    bought = replace(SALE, transaction_code="P")
    assert [code for code, *_ in totals(SALE, bought)] == ["P", "S"]


def test_a_row_in_doubt_counts_in_no_total() -> None:
    assert totals(replace(SALE, in_doubt="an amendment may restate it")) == []


def test_what_is_no_market_trade_counts_in_no_total() -> None:
    assert totals(replace(SALE, transaction_code="G", is_market_trade=False)) == []


def test_a_total_tells_that_a_row_gives_its_shares_only_in_a_footnote() -> None:
    (total,) = market_totals([SALE, replace(SALE, shares=None)])
    assert (int(total.shares), total.is_complete) == (1200, False)


def trades(*rows: InsiderTrade) -> InsiderTrades:
    return InsiderTrades(7, "Acme", 1, rows, Provenance(SourceName.SEC, "", "", NOW))


def test_facts_total_each_security_by_itself() -> None:
    ads = replace(SALE, security_title="American Depositary Shares", shares=Decimal(17))
    first, second, *_ = (fact.text for fact in facts_of({SourceName.SEC: trades(SALE, ads)}))
    assert "sold 1,200 shares of Common Stock" in first
    assert "sold 17 shares of American Depositary Shares" in second


def test_a_finding_of_the_version_before_is_read() -> None:
    stored = to_json(trades(SALE))
    for name in ("read_back_to", "filings_unread"):
        stored.pop(name, None)
    new = ("ownership", "ownership_nature", "in_doubt", "is_plan_box_checked", "footnotes_by_field")
    for name in new:
        del stored["trades"][0][name]
    assert from_json(SourceName.SEC, stored) == trades(replace(SALE, ownership=""))
