"""What is told of a person's trades: whole sentences of ours, each true of the rows it rests on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrichment.sources.claude.quantities import unsupported
from services.enrichment.sources.insider_trade import InsiderTrade
from services.enrichment.sources.trade_sentences import (
    coverage_sentence,
    money,
    trade_sentences,
)

SALE = InsiderTrade(
    "0000000000-24-000001", "non_derivative", 0, "4", "https://sec.example/1", "Doe Jane", 9,
    "", "Common Stock", "S", "open market or private sale", True, "D", False, (),
    transaction_date=date(2024, 3, 1), shares=Decimal("1200.0000"),
    price_per_share=Decimal("159.9400"), ownership="D",
)  # fmt: skip
GIFT = replace(
    SALE, transaction_code="G", transaction_kind="bona fide gift", is_market_trade=False,
    price_per_share=Decimal(0),
)  # fmt: skip
SOLD = "Doe Jane sold 1,200 shares of Common Stock of Acme Corp on the market on March 1, 2024"


def told(*rows: InsiderTrade) -> list[str]:
    return [text for text, _ in trade_sentences(rows, "Acme Corp")]


def test_a_sale_is_told_once_with_its_day_its_price_and_its_number() -> None:
    assert told(SALE) == [f"{SOLD}, in 1 reported transaction, at $159.94 each."]


def test_one_share_is_one_share() -> None:
    (text,) = told(replace(SALE, shares=Decimal(1)))
    assert "sold 1 share of" in text


def test_a_purchase_is_bought() -> None:
    (text,) = told(replace(SALE, transaction_code="P", acquired_disposed="A"))
    assert " bought 1,200 shares " in text


def test_a_total_says_between_which_days_and_at_which_prices() -> None:
    other = replace(SALE, row=1, shares=Decimal(300), price_per_share=Decimal("41.5"))
    total, *_ = told(SALE, replace(other, transaction_date=date(2024, 2, 1)))
    assert "sold 1,500 shares" in total
    assert "between February 1, 2024 and March 1, 2024, in 2 reported transactions" in total
    assert total.endswith("at $41.50 to $159.94 each (the largest of 1,200 shares at $159.94).")


def test_direct_and_indirect_holdings_are_told_apart() -> None:
    direct, indirect = told(SALE, replace(SALE, ownership="I"))
    assert "held indirectly" not in direct
    assert "held indirectly, on the market" in indirect


def test_a_plan_is_told_of_the_rows_that_are_under_it() -> None:
    planned = replace(SALE, under_10b5_1_plan=True)
    assert told(planned)[0].endswith(", under a Rule 10b5-1 plan.")
    assert ", 1 of the transactions under a Rule 10b5-1 plan." in told(planned, SALE)[0]
    assert "plan" not in " ".join(told(SALE, SALE))


def test_a_box_alone_marks_the_form_and_never_a_gift() -> None:
    marked = "on a form whose box says that a transaction of it was under a Rule 10b5-1 plan."
    assert told(replace(SALE, is_plan_box_checked=True))[0].endswith(marked)
    assert "plan" not in told(replace(GIFT, is_plan_box_checked=True))[0]


@pytest.mark.parametrize(
    ("code", "direction", "words"),
    [
        ("A", "A", "acquired 1,200 shares of Common Stock of Acme Corp from the company, as a"),
        ("F", "D", "delivered 1,200 shares of Common Stock of Acme Corp or had them withheld, to"),
        ("M", "A", "by exercising or converting derivative securities"),
        ("G", "D", "gave 1,200 shares of Common Stock of Acme Corp away as a bona fide gift."),
        ("G", "A", "received 1,200 shares of Common Stock of Acme Corp as a bona fide gift."),
        ("J", "A", "acquired 1,200 shares of Common Stock of Acme Corp (other acquisition"),
        ("Q", "", "reported a transaction in 1,200 shares"),
    ],
)
def test_what_is_no_market_trade_is_told_as_what_it_is(
    code: str, direction: str, words: str
) -> None:
    kind = "other acquisition or disposition" if code == "J" else "unknown"
    row = replace(GIFT, transaction_code=code, acquired_disposed=direction, transaction_kind=kind)
    (text,) = told(row)
    assert text.startswith("On March 1, 2024, Doe Jane ")
    assert words in text
    assert "sold" not in text
    assert "bought" not in text


def test_derivative_securities_are_no_shares() -> None:
    row = replace(GIFT, table="derivative", transaction_code="M", security_title="Stock Option")
    (text,) = told(row)
    assert "exercised or converted 1,200 derivative securities (Stock Option of Acme Corp)" in text


def test_shares_that_only_a_footnote_gives_are_not_told_as_none() -> None:
    (text,) = told(replace(GIFT, shares=None))
    assert "shares (Common Stock of Acme Corp; only a footnote says how many)" in text
    total, *_ = told(SALE, replace(SALE, shares=None))
    assert "sold at least 1,200 shares" in total


def test_a_row_in_doubt_says_so_and_is_in_no_total() -> None:
    (text,) = told(replace(SALE, in_doubt="an amendment may restate it"))
    assert text.startswith("On March 1, 2024, Doe Jane sold 1,200 shares")
    assert text.endswith("It is in doubt, and in no total: an amendment may restate it.")


def test_what_is_held_is_told_after_the_last_transaction_of_the_day() -> None:
    first = replace(SALE, shares_owned_after=Decimal(900))
    last = replace(SALE, row=1, shares_owned_after=Decimal("5659.0000"))
    held = [text for text in told(first, last) if " held " in text]
    assert held == [
        "Doe Jane held 5,659 shares of Common Stock of Acme Corp directly after the transactions"
        " of March 1, 2024."
    ]


def test_a_day_without_a_date_is_not_made_up() -> None:
    (text,) = told(replace(GIFT, transaction_date=None))
    assert text.startswith("On a day not given, Doe Jane gave")


def test_a_title_is_spelled_out() -> None:
    text = told(replace(SALE, owner_role="officer (SVP, GC and Secretary)"))[-1]
    assert text == (
        "Doe Jane files as officer (Senior Vice President, General Counsel and Secretary) of"
        " Acme Corp."
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [("159.94", "$159.94"), ("165", "$165.00"), ("0", "$0"), ("1234.5", "$1,234.50"),
     ("8.2150", "$8.215"), ("5659.0000", "$5,659.00")],
)  # fmt: skip
def test_money_has_cents_and_no_empty_digits(value: str, written: str) -> None:
    assert money(Decimal(value)) == written


def test_coverage_says_how_far_back_and_what_is_missing() -> None:
    assert coverage_sentence("Acme", 1, date(2024, 1, 2), 0) == (
        "Ownership filings about Acme were read back to January 2, 2024 (1 filing read)."
    )
    assert "but for 2 that could not be read" in coverage_sentence("Acme", 40, date(2024, 1, 2), 2)
    assert coverage_sentence("Acme", 40, None, 0) == ""


decimals = st.decimals(0, 10**9, places=4, allow_nan=False)


@given(decimals, decimals)
def test_the_numbers_told_are_those_of_the_row(shares: Decimal, price: Decimal) -> None:
    (text,) = told(replace(SALE, shares=shares, price_per_share=price))
    row = f"{shares:f} shares at ${price:f}, in 1 transaction on 2024-03-01"
    assert unsupported(text, row) == []
