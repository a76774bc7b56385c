"""An amended trade is counted once, and none is dropped; what cannot be known is in doubt."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrichment.sources.edgar.form import ReadFiling
from services.enrichment.sources.insider_trade import market_totals
from tests.enrichment.sources.edgar.made import (
    AGAIN,
    AMENDED,
    FILED,
    amendment,
    document,
    filing,
    found,
    in_doubt,
    row,
    standing,
)

GIVEN = Path(__file__).parent / "amendments"


def filed(name: str, number: int, filed_on: date) -> ReadFiling:
    return filing(number, (GIVEN / f"{name}.xml").read_bytes(), filed_on)


ORIGINAL = filed("a2_original", 1, FILED)


def test_an_added_gift_leaves_every_row_of_the_original() -> None:
    original = filed("a1_original", 1, FILED)
    added = filed("a1_amendment_adds_gift", 2, AMENDED)
    assert standing(added, original) == [("G", 7), ("P", 5), ("S", 1000)]


def test_a_corrected_day_is_one_trade_though_the_period_is_another() -> None:
    corrected = filed("a2_amendment_corrects_date", 2, AMENDED)
    trades = found(corrected, ORIGINAL).trades
    assert [(int(t.shares or 0), t.transaction_date) for t in trades] == [(1000, date(2024, 3, 14))]


def test_an_amendment_that_names_no_day_amends_the_report_of_its_period() -> None:
    unnamed = filed("a3_amendment_without_original_date", 2, AMENDED)
    assert standing(unnamed, ORIGINAL) == [("S", 250)]


def test_the_named_day_may_be_one_day_off() -> None:
    off = filed("a4_amendment_original_date_off_by_one", 2, AMENDED)
    assert standing(off, ORIGINAL) == [("S", 250)]


def test_a_second_amendment_may_name_the_first() -> None:
    first = filed("a5_first_amendment", 2, AMENDED)
    second = filed("a5_second_amendment", 3, AGAIN)
    all_three = found(second, first, filing(1, document(row(1))))
    assert [int(trade.shares or 0) for trade in all_three.trades] == [3]
    assert [each.superseded_by for each in all_three.superseded] == [second.accession_number] * 2


def test_of_a_report_split_over_two_forms_one_is_amended() -> None:
    parts = filing(2, document(row(40))), filing(1, document(row(1000)))
    assert standing(amendment(3, row(250)), *parts) == [("S", 40), ("S", 250)]


def test_rows_of_which_either_may_be_meant_are_in_doubt() -> None:
    parts = filing(2, document(row(240))), filing(1, document(row(260)))
    amended = amendment(3, row(250))
    assert standing(amended, *parts) == []
    assert in_doubt(amended, *parts) == [("S", 240), ("S", 250), ("S", 260)]
    trades = found(amended, *parts).trades
    assert not market_totals(trades)
    assert trades[0].in_doubt == (
        "it may restate a row of 0000000999-24-000001, 0000000999-24-000002"
    )
    assert trades[1].in_doubt == "amendment 0000000999-24-000003 may restate this row"


def test_a_row_that_is_repeated_counts_once() -> None:
    original = filing(1, document(row(1), row(2), row(2)))
    assert standing(amendment(2, row(1), row(2), row(2)), original) == [
        ("S", 1), ("S", 2), ("S", 2),
    ]  # fmt: skip


def test_a_full_report_with_one_lot_corrected_in_every_figure_counts_each_lot_once() -> None:
    original = filing(1, document(row(1), row(2), row(3)))
    amended = amendment(2, row(1), row(2), row(33, price="9"))
    assert standing(amended, original) == [("S", 1), ("S", 2), ("S", 33)]


def test_a_full_report_with_a_lot_more_counts_each_lot_once() -> None:
    original = filing(1, document(row(1), row(2)))
    assert standing(amendment(2, row(1), row(2), row(4)), original) == [
        ("S", 1), ("S", 2), ("S", 4),
    ]  # fmt: skip


def test_a_row_that_is_not_repeated_stands() -> None:
    original = filing(1, document(row(1000), row(5, code="P")))
    assert standing(amendment(2, row(990)), original) == [("P", 5), ("S", 990)]


@pytest.mark.parametrize(
    "said",
    [
        "This sale was inadvertently omitted from the original Form 4.",
        "The original report failed to report this sale.",
    ],
)
def test_a_row_said_to_have_been_omitted_supersedes_nothing(said: str) -> None:
    omitted = amendment(2, row(300, note="F1"), F1=said)
    assert standing(omitted, filing(1, document(row(200)))) == [("S", 200), ("S", 300)]


def test_an_omitted_footnote_is_no_omitted_row() -> None:
    said = "The original inadvertently omitted this footnote."
    repeated = amendment(2, row(300, note="F1"), F1=said)
    assert standing(repeated, filing(1, document(row(200)))) == [("S", 300)]


def test_the_shares_owned_after_tell_a_further_trade_from_a_correction() -> None:
    original = filing(1, document(row(200, after=800)))
    assert standing(amendment(2, row(300, after=500)), original) == [("S", 200), ("S", 300)]
    assert standing(amendment(2, row(300, after=700)), original) == [("S", 300)]


def test_one_row_may_be_corrected_to_two() -> None:
    original = filing(1, document(row(1000)))
    assert standing(amendment(2, row(600), row(400)), original) == [("S", 400), ("S", 600)]


def test_a_corrected_code_is_one_trade() -> None:
    assert standing(amendment(2, row(1000, code="F")), ORIGINAL) == [("F", 1000)]


def test_two_figures_corrected_are_in_doubt_unless_it_says_that_it_corrects() -> None:
    original = filing(1, document(row(1000)))
    assert in_doubt(amendment(2, row(600, price="11")), original) == [("S", 600), ("S", 1000)]
    said = amendment(2, row(600, price="11"), remarks="To correct the shares and the price.")
    assert standing(said, original) == [("S", 600)]


def test_without_a_named_day_and_with_another_period_a_moved_row_is_in_doubt() -> None:
    moved = amendment(2, row(1000, day="2024-03-14"), original="", period="2024-03-14")
    assert standing(moved, ORIGINAL) == []
    assert in_doubt(moved, ORIGINAL) == [("S", 1000), ("S", 1000)]


def test_a_named_day_that_fits_nothing_leaves_the_report_of_its_period_in_doubt() -> None:
    amended = amendment(2, row(250), original="2024-02-18")
    assert in_doubt(amended, ORIGINAL) == [("S", 250), ("S", 1000)]


def test_an_amendment_of_what_was_not_read_stands() -> None:
    other = amendment(2, row(7, day="2021-03-15"), original="2021-03-17", period="2021-03-15")
    assert standing(other, ORIGINAL) == [("S", 7), ("S", 1000)]


def test_an_amendment_of_another_form_supersedes_nothing() -> None:
    annual = filing(1, document(row(1000), form="5"))
    assert standing(amendment(2, row(1000)), annual) == [("S", 1000), ("S", 1000)]


def test_what_an_amendment_may_withdraw_is_in_doubt() -> None:
    original = filing(1, document(row(1000), row(5)))
    said = "The reported transactions did not occur."
    assert in_doubt(amendment(2, remarks=said), original) == [("S", 5), ("S", 1000)]


def test_of_a_trade_that_was_reported_twice_one_is_in_doubt() -> None:
    original = filing(1, document(row(1000), row(1000)))
    amended = amendment(2, row(1000), remarks="The sale was inadvertently reported twice.")
    assert (standing(amended, original), in_doubt(amended, original)) == (
        [("S", 1000)],
        [("S", 1000)],
    )


ROWS = st.lists(
    st.builds(
        lambda shares, price, day, code: row(shares, price=price, day=f"2024-03-{day}", code=code),
        st.integers(1, 4),
        st.sampled_from(["10.5", "11"]),
        st.sampled_from([14, 15]),
        st.sampled_from("SPG"),
    ),
    max_size=4,
)
NAMED = st.sampled_from(["2024-03-18", "2024-03-19", "2024-04-02", ""])


@given(ROWS, ROWS, ROWS, NAMED, NAMED)
def test_a_row_is_superseded_by_one_row_at_most_and_none_is_dropped(
    first: list[str], second: list[str], third: list[str], named: str, again: str
) -> None:
    filings = [
        amendment(3, *third, original=again, filed_on=AGAIN),
        amendment(2, *second, original=named),
        filing(1, document(*first)),
    ]
    trades = found(*filings)
    everything = {
        (each.accession_number, content.table, content.row)
        for each in filings
        for content in each.document.transactions
    }
    kept = [(t.accession_number, t.table, t.row) for t in (*trades.trades, *trades.superseded)]
    assert sorted(kept) == sorted(everything)
    assert len(trades.superseded) <= len(second) + len(third)
    assert {t.superseded_by for t in trades.superseded} <= {
        each.accession_number for each in filings
    }
    last = filings[0].accession_number
    assert not any(t.accession_number == last for t in trades.superseded)
