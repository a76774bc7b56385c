"""What an ownership filing must have: an issuer, an owner, its type; and how each value is read."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from services.enrichment.sources.edgar.filing_xml import OwnershipError
from services.enrichment.sources.edgar.form import (
    DERIVATIVE,
    DerivativeTerms,
    FieldNote,
    Holding,
    Transaction,
)
from services.enrichment.sources.edgar.ownership import parse_ownership

OPTION = DerivativeTerms(
    Decimal(1), date(2024, 1, 1), date(2034, 1, 1), "Common", Decimal(2), Decimal(3)
)
OWNER = "<reportingOwner><rptOwnerCik>9</rptOwnerCik>{}</reportingOwner>"
ISSUER = "<issuer><issuerCik>7</issuerCik></issuer>"


def document(*parts: str, issuer: str = ISSUER, owner: str = "") -> bytes:
    inner = "".join(["<documentType>4</documentType>", issuer, OWNER.format(owner), *parts])
    return f"<ownershipDocument>{inner}</ownershipDocument>".encode()


def refusal(sent: bytes) -> str:
    with pytest.raises(OwnershipError) as refused:
        parse_ownership(sent)
    return str(refused.value)


def row(fields: str, kind: str = "nonDerivativeTransaction") -> str:
    return f"<{kind}><securityTitle>Common</securityTitle>{fields}</{kind}>"


def test_a_document_without_a_reporting_owner_is_refused() -> None:
    sent = document().replace(OWNER.format("").encode(), b"")
    assert refusal(sent) == "the document names no reporting owner"


def test_a_document_without_an_issuer_is_refused() -> None:
    assert refusal(document(issuer="")) == "the document names no issuer"


def test_an_issuer_or_an_owner_without_a_number_is_refused() -> None:
    assert refusal(document(issuer="<issuer></issuer>")) == "the document has no <issuerCik>"
    unnumbered = document().replace(b"<rptOwnerCik>9</rptOwnerCik>", b"")
    assert refusal(unnumbered) == "the document has no <rptOwnerCik>"


def test_a_number_of_eleven_digits_is_none() -> None:
    issuer = "<issuer><issuerCik>{}</issuerCik></issuer>"
    assert parse_ownership(document(issuer=issuer.format("1" * 10))).issuer.cik == 1_111_111_111
    too_long = document(issuer=issuer.format("1" * 11))
    assert refusal(too_long) == "the document's <issuerCik> cannot be read"


def test_an_issuer_has_its_name_and_symbol() -> None:
    issuer = (
        "<issuer><issuerCik>7</issuerCik><issuerName>Acme</issuerName>"
        "<issuerTradingSymbol>ACME</issuerTradingSymbol></issuer>"
    )
    read = parse_ownership(document(issuer=issuer)).issuer
    assert (read.cik, read.name, read.trading_symbol) == (7, "Acme", "ACME")


def test_an_owner_of_whom_nothing_is_said_is_nothing() -> None:
    (owner,) = parse_ownership(document()).owners
    assert (owner.cik, owner.name, owner.officer_title, owner.other_text) == (9, "", "", "")
    flags = (owner.is_director, owner.is_officer, owner.is_ten_percent_owner, owner.is_other)
    assert flags == (False, False, False, False)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("isDirector", "is_director"),
        ("isOfficer", "is_officer"),
        ("isTenPercentOwner", "is_ten_percent_owner"),
        ("isOther", "is_other"),
    ],
)
@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("0", False)])
def test_an_owner_is_what_the_filing_says(tag: str, name: str, text: str, value: bool) -> None:
    (owner,) = parse_ownership(document(owner=f"<{tag}>{text}</{tag}>")).owners
    assert getattr(owner, name) is value


def test_an_owner_has_title_and_remark() -> None:
    said = "<officerTitle>CFO</officerTitle><otherText>Trustee</otherText>"
    (owner,) = parse_ownership(document(owner=said)).owners
    assert (owner.officer_title, owner.other_text) == ("CFO", "Trustee")


FLAGS = {
    "noSecuritiesOwned": "no_securities_owned",
    "notSubjectToSection16": "not_subject_to_section_16",
    "form3HoldingsReported": "form_3_holdings_reported",
    "form4TransactionsReported": "form_4_transactions_reported",
}


@pytest.mark.parametrize("tag", FLAGS)
def test_what_a_filing_does_not_say_is_not_so(tag: str) -> None:
    assert getattr(parse_ownership(document()), FLAGS[tag]) is False
    assert getattr(parse_ownership(document(f"<{tag}>true</{tag}>")), FLAGS[tag]) is True


def test_whether_a_plan_was_followed_may_be_left_open() -> None:
    assert parse_ownership(document()).under_10b5_1 is None
    assert parse_ownership(document("<aff10b5One>0</aff10b5One>")).under_10b5_1 is False


def test_a_filing_has_its_dates_version_and_remarks() -> None:
    read = parse_ownership(
        document(
            "<schemaVersion>X0508</schemaVersion><periodOfReport>2024-03-01</periodOfReport>",
            "<dateOfOriginalSubmission>2024-03-02-05:00</dateOfOriginalSubmission>",
            "<remarks>None.</remarks>",
        )
    )
    assert (read.schema_version, read.remarks) == ("X0508", "None.")
    assert read.period == date(2024, 3, 1)
    assert read.date_of_original_submission == date(2024, 3, 2)


def test_the_type_may_stand_in_any_case_and_must_be_one_of_six() -> None:
    lower = document().replace(b">4<", b">4/a<")
    assert parse_ownership(lower).document_type == "4/A"
    other = document().replace(b">4<", b">144<")
    assert refusal(other) == "the document's type is not one of 3, 3/A, 4, 4/A, 5, 5/A"


def test_a_security_beside_the_rows_has_lost_its_row() -> None:
    lost = document("<securityTitle>Common</securityTitle>")
    assert refusal(lost) == "the document is broken: a row has lost its tags"


def test_a_row_without_fields_is_refused() -> None:
    empty = document("<nonDerivativeTransaction></nonDerivativeTransaction>")
    assert refusal(empty) == "the document is broken: a row has no fields"


def test_two_securities_in_a_row_are_two_rows_run_into_each_other() -> None:
    twice = document(row("<securityTitle>Other</securityTitle>"))
    assert refusal(twice) == "the document is broken: two rows run into each other"


@pytest.mark.parametrize(
    ("text", "shares"),
    [("10", 10), ("+2.5", Decimal("2.5")), (".5", Decimal("0.5")), ("7.", 7), ("", None)],
)
def test_a_figure_is_exact_or_absent(text: str, shares: Decimal | None) -> None:
    sent = document(row(f"<transactionShares><value>{text}</value></transactionShares>"))
    assert parse_ownership(sent).transactions[0].shares == shares


@pytest.mark.parametrize("text", ["-1", "1e3", "ten", "1,000"])
def test_a_figure_that_cannot_be_read_refuses_the_filing(text: str) -> None:
    sent = document(row(f"<transactionShares>{text}</transactionShares>"))
    assert refusal(sent) == "the document's <transactionShares> cannot be read"


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("transactionCode", "SS"),
        ("transactionCode", "ST"),
        ("transactionCode", "7"),
        ("transactionAcquiredDisposedCode", "S"),
        ("transactionAcquiredDisposedCode", "X"),
        ("transactionAcquiredDisposedCode", "AD"),
        ("directOrIndirectOwnership", "A"),
        ("directOrIndirectOwnership", "X"),
        ("directOrIndirectOwnership", "DI"),
        ("transactionDate", "2024-02-30"),
    ],
)
def test_a_code_or_a_date_that_there_is_not_refuses_the_filing(tag: str, text: str) -> None:
    sent = document(row(f"<{tag}>{text}</{tag}>"))
    assert refusal(sent) == f"the document's <{tag}> cannot be read"


def test_a_holding_is_direct_or_indirect() -> None:
    held = row("<directOrIndirectOwnership>X</directOrIndirectOwnership>", "nonDerivativeHolding")
    assert refusal(document(held)) == "the document's <directOrIndirectOwnership> cannot be read"


def test_a_code_may_stand_in_lower_case() -> None:
    (read,) = parse_ownership(
        document(
            row(
                "<transactionCode>s</transactionCode>"
                "<transactionAcquiredDisposedCode>d</transactionAcquiredDisposedCode>"
                "<directOrIndirectOwnership>i</directOrIndirectOwnership>"
            )
        )
    ).transactions
    assert (read.code, read.acquired_disposed, read.ownership) == ("S", "D", "I")


def test_rows_are_counted_from_zero_in_each_table() -> None:
    kinds = (
        "nonDerivativeTransaction", "derivativeTransaction",
        "nonDerivativeHolding", "derivativeHolding",
    )  # fmt: skip
    read = parse_ownership(document(*(row("", kind) for kind in kinds)))
    tables = (
        read.non_derivative_transactions, read.derivative_transactions,
        read.non_derivative_holdings, read.derivative_holdings,
    )  # fmt: skip
    assert [each.row for (each,) in tables] == [0, 0, 1, 1]
    assert [each.terms is not None for (each,) in tables] == [False, True, False, True]


def test_a_footnote_is_kept_once_and_named_by_the_row() -> None:
    note = '<footnoteId id=" F1 "/><footnoteId id="F1"/><footnoteId/>'
    notes = '<footnote id=" F1 ">First</footnote><footnote id="F1">Second</footnote>'
    read = parse_ownership(document(row(note), notes))
    assert read.transactions[0].footnote_ids == ("F1",)
    assert read.footnotes == {"F1": "First"}


def test_a_footnote_without_a_name_does_not_refuse_the_filing() -> None:
    read = parse_ownership(document(row(""), "<footnote>Unnamed</footnote>"))
    assert len(read.transactions) == 1


def test_a_transaction_is_no_equity_swap_unless_the_filing_says_so() -> None:
    swap = "<equitySwapInvolved>{}</equitySwapInvolved>"
    sent = document(row(""), row(swap.format(0)), row(swap.format(1)))
    assert [each.equity_swap for each in parse_ownership(sent).transactions] == [False, False, True]


TERMS = (
    "<conversionOrExercisePrice>1</conversionOrExercisePrice><exerciseDate>2024-01-01</exerciseDate>"
    "<expirationDate>2034-01-01</expirationDate>"
    "<underlyingSecurityTitle>Common</underlyingSecurityTitle>"
    "<underlyingSecurityShares>2</underlyingSecurityShares>"
    "<underlyingSecurityValue>3</underlyingSecurityValue>"
)
OWNED = (
    "<sharesOwnedFollowingTransaction>4</sharesOwnedFollowingTransaction>"
    "<valueOwnedFollowingTransaction>5</valueOwnedFollowingTransaction>"
    "<directOrIndirectOwnership>I</directOrIndirectOwnership>"
    "<natureOfOwnership>By trust</natureOfOwnership>"
    '<footnoteId id="F1"/>'
)
TRADED = (
    "<transactionDate>2024-03-01</transactionDate>"
    "<deemedExecutionDate>2024-03-02</deemedExecutionDate>"
    "<transactionFormType>4</transactionFormType><transactionCode>M</transactionCode>"
    "<equitySwapInvolved>1</equitySwapInvolved><transactionTimeliness>L</transactionTimeliness>"
    "<transactionAcquiredDisposedCode>A</transactionAcquiredDisposedCode>"
    "<transactionShares>6</transactionShares><transactionTotalValue>7</transactionTotalValue>"
    "<transactionPricePerShare>8</transactionPricePerShare>"
)


def test_a_holding_has_every_value_of_its_row() -> None:
    (read,) = parse_ownership(document(row(OWNED + TERMS, "derivativeHolding"))).holdings
    assert read == Holding(
        table=DERIVATIVE,
        row=0,
        security_title="Common",
        shares_owned=Decimal(4),
        value_owned=Decimal(5),
        ownership="I",
        ownership_nature="By trust",
        footnote_ids=("F1",),
        terms=OPTION,
        field_notes=(FieldNote("", "F1"),),
    )


def test_a_transaction_has_every_value_of_its_row() -> None:
    sent = document(row(TRADED + OWNED + TERMS, "derivativeTransaction"))
    assert parse_ownership(sent).transactions == (
        Transaction(
            table=DERIVATIVE,
            row=0,
            security_title="Common",
            transaction_date=date(2024, 3, 1),
            deemed_execution_date=date(2024, 3, 2),
            form_type="4",
            code="M",
            equity_swap=True,
            timeliness="L",
            acquired_disposed="A",
            shares=Decimal(6),
            total_value=Decimal(7),
            price=Decimal(8),
            shares_owned_after=Decimal(4),
            value_owned_after=Decimal(5),
            ownership="I",
            ownership_nature="By trust",
            footnote_ids=("F1",),
            terms=OPTION,
            field_notes=(FieldNote("", "F1"),),
        ),
    )
