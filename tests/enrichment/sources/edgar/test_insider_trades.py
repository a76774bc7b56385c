"""Which rows of the filings are the person's trades: amendments, joint filings, namesakes."""

from __future__ import annotations

from datetime import date

import pytest

from services.enrichment.sources.edgar.form import ReadFiling
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.trades import trades_of

CIK = 7
JANE = (9, "DOE JANE")
ROW = """<{table}Transaction><securityTitle><value>Common</value></securityTitle>
<transactionDate><value>{day}</value></transactionDate>
<transactionAmounts><transactionShares><value>{shares}</value></transactionShares>
</transactionAmounts></{table}Transaction>"""


def rows(*shares: int, table: str = "nonDerivative", day: str = "2024-03-01") -> str:
    return "".join(ROW.format(table=table, shares=number, day=day) for number in shares)


def filing(
    accession: str,
    body: str,
    *,
    form: str = "4",
    filed_on: date = date(2024, 3, 2),
    original: str = "",
    owners: tuple[tuple[int, str], ...] = (JANE,),
    issuer: int = CIK,
) -> ReadFiling:
    named = "".join(
        f"<reportingOwner><rptOwnerCik>{cik}</rptOwnerCik>"
        f"<rptOwnerName>{name}</rptOwnerName></reportingOwner>"
        for cik, name in owners
    )
    document = f"""<ownershipDocument><documentType>{form}</documentType>
    <periodOfReport>2024-03-01</periodOfReport>
    <dateOfOriginalSubmission>{original}</dateOfOriginalSubmission>
    <issuer><issuerCik>{issuer}</issuerCik></issuer>{named}{body}</ownershipDocument>"""
    return ReadFiling(accession, filed_on, "", parse_ownership(document.encode()))


def amendment(accession: str, body: str, *, day: int = 5) -> ReadFiling:
    filed_on = date(2024, 3, day)
    return filing(accession, body, form="4/A", filed_on=filed_on, original="2024-03-02")


def shares(*filings: ReadFiling, person: str = "Jane Doe") -> list[int]:
    return [int(trade.shares or 0) for trade in trades_of(person, CIK, filings).trades]


def test_an_amendment_leaves_the_table_that_it_does_not_restate() -> None:
    original = filing("a", rows(10) + rows(20, table="derivative"))
    assert shares(amendment("b", rows(11)), original) == [11, 20]


def test_an_amendment_without_transactions_supersedes_nothing() -> None:
    assert shares(amendment("b", ""), filing("a", rows(10))) == [10]


HOLDING = """<nonDerivativeHolding><securityTitle><value>Common</value></securityTitle>
<postTransactionAmounts><sharesOwnedFollowingTransaction><value>5</value>
</sharesOwnedFollowingTransaction></postTransactionAmounts></nonDerivativeHolding>"""


def test_an_amendment_of_holdings_alone_deletes_no_trade() -> None:
    assert shares(amendment("b", HOLDING), filing("a", rows(10) + HOLDING)) == [10]


def test_what_an_amendment_restates_is_kept_beside_the_trades() -> None:
    original = filing("a", rows(10) + rows(20, table="derivative"))
    found = trades_of("Jane Doe", CIK, [amendment("b", rows(11)), original])
    assert [(row.accession_number, row.superseded_by) for row in found.superseded] == [("a", "b")]
    assert {row.accession_number for row in found.trades} == {"a", "b"}
    assert not any(row.superseded_by for row in found.trades)


def test_of_two_amendments_the_later_supersedes_both() -> None:
    earlier = amendment("b", rows(11)), filing("a", rows(10))
    found = trades_of("Jane Doe", CIK, [amendment("c", rows(12), day=6), *earlier])
    assert [(row.accession_number, row.superseded_by) for row in found.superseded] == [
        ("b", "c"),
        ("a", "c"),
    ]


def test_the_match_tells_its_confidence_and_reason() -> None:
    found = trades_of("Jane Doe", CIK, [filing("a", rows(10), owners=((9, "DOE JANE A"),))])
    (match,) = found.owner_matches
    assert (match.owner_cik, match.owner_name, match.confidence) == (9, "DOE JANE A", 0.95)
    assert match.reason == "same first and last name, middle name on one side"


def test_a_row_is_known_by_filing_table_and_number() -> None:
    found = trades_of("Jane Doe", CIK, [filing("a", HOLDING + rows(10, 20))])
    places = [(row.accession_number, row.table, row.row) for row in found.trades]
    assert places == [("a", "non_derivative", 1), ("a", "non_derivative", 2)]


def test_the_latest_amendment_stands() -> None:
    assert shares(amendment("c", rows(12), day=6), amendment("b", rows(11)), filing("a", "")) == [
        12
    ]


def test_an_amendment_of_another_owner_supersedes_nothing() -> None:
    original = filing("a", rows(10), owners=((8, "DOE JOHN"),))
    assert shares(amendment("b", rows(11)), original, person="John Doe") == [10]


def test_a_trade_of_several_owners_counts_once() -> None:
    owners = ((1, "ACME HOLDINGS LLC"), JANE, (9, "DOE JANE A"))
    assert shares(filing("a", rows(10), owners=owners)) == [10]


def test_another_issuers_filing_does_not_count() -> None:
    assert shares(filing("a", rows(10), issuer=8)) == []


def test_another_owners_filing_does_not_count() -> None:
    john = filing("b", rows(20), owners=((8, "DOE JOHN"),))
    assert shares(john, filing("a", rows(10))) == [10]


def test_the_better_match_wins() -> None:
    initial = filing("b", rows(20), owners=((8, "DOE J"),))
    assert shares(initial, filing("a", rows(10))) == [10]


def test_between_two_equal_matches_there_is_no_answer() -> None:
    one = filing("a", rows(10), owners=((1, "DOE JANE A"),))
    other = filing("b", rows(20), owners=((2, "DOE JANE B"),))
    assert shares(one, other) == []


AMBIGUOUS = [
    ("J. Roe", ["ROE JANE A", "ROE JANET"]),
    ("J. Roe", ["ROE JANE", "ROE JANET"]),
    ("Bob Smith", ["SMITH ROBERT J", "SMITH ROBERT K JR"]),
    ("Robert Smith", ["SMITH ROBERT J", "SMITH ROBERT K JR"]),
    ("Robert Smith", ["SMITH ROBERT", "SMITH ROBERT K"]),
    ("John Roe", ["ROE JOHN", "ROE JOHN JR"]),
    ("John Roe", ["ROE JOHN SR", "ROE JOHN JR"]),
    ("John A. Roe", ["ROE JOHN", "ROE JOHN A JR"]),
    ("Pat Lee", ["LEE PATRICIA", "LEE PATRICK T"]),
    ("Chris Lee", ["LEE CHRISTINE", "LEE CHRISTOPHER M"]),
]


@pytest.mark.parametrize(("person", "owners"), AMBIGUOUS)
def test_where_two_owners_may_be_meant_there_is_no_answer(person: str, owners: list[str]) -> None:
    assert taken(person, owners) == []


CLEAR = [
    ("Jim Walton", ["WALTON JAMES M", "WALTON JIM C"], ["WALTON JIM C"]),
    ("Jane Roe", ["ROE JANE A", "ROE JANET"], ["ROE JANE A"]),
    ("John Roe", ["ROE JOHN JR"], ["ROE JOHN JR"]),
    ("John Roe Jr.", ["ROE JOHN SR", "ROE JOHN JR"], ["ROE JOHN JR"]),
    ("John Roe Jr.", ["ROE JOHN", "ROE JOHN JR"], ["ROE JOHN JR"]),
    ("Robert K. Smith", ["SMITH ROBERT", "SMITH ROBERT K"], ["SMITH ROBERT K"]),
    ("Nadia Brock", ["BROCK NADIA", "Nadia Brock"], ["BROCK NADIA", "Nadia Brock"]),
]


@pytest.mark.parametrize(("person", "owners", "taken_for"), CLEAR)
def test_the_owner_who_is_meant_is_taken(
    person: str, owners: list[str], taken_for: list[str]
) -> None:
    assert taken(person, owners) == taken_for


def taken(person: str, owners: list[str]) -> list[str]:
    filings = [
        filing(f"a-{number}", rows(10), owners=((number, owner),))
        for number, owner in enumerate(owners, 1)
    ]
    return [match.owner_name for match in trades_of(person, CIK, filings).owner_matches]


def test_one_name_with_two_numbers_is_one_person() -> None:
    one = filing("a", rows(10), owners=((1, "DOE JANE"),))
    other = filing("b", rows(20), owners=((2, "Doe Jane"),))
    assert sorted(shares(one, other)) == [10, 20]


def test_a_name_in_german_and_in_plain_capitals_is_one_person() -> None:
    one = filing("a", rows(10), owners=((1, "STRAUSS JANE"),))
    other = filing("b", rows(20), owners=((2, "Strauß Jane"),))
    assert sorted(shares(one, other, person="Jane Strauss")) == [10, 20]


def test_trades_are_newest_first() -> None:
    newer = filing("b", rows(20, day="2024-02-02"), filed_on=date(2024, 4, 1))
    assert shares(newer, filing("a", rows(10, day="2024-03-01"))) == [10, 20]
