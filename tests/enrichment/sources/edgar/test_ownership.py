"""A parsed filing says what the filing says, figure by figure."""

from __future__ import annotations

import hashlib
import json
import re
import xml.etree.ElementTree as ET
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.stack import ROOT
from services.enrichment.sources.edgar.form import (
    DERIVATIVE,
    MARKET_TRADES,
    TRANSACTION_KINDS,
    OwnershipDocument,
    Transaction,
    transaction_kind,
)
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.plans import is_planned

DATA = ROOT / "devstack/sandbox/data"
FILINGS = sorted((DATA / "sec" / "filings").iterdir())
ADAMS = "0000320193-22-000061.txt"
SCARPELLI = "snowflake-scarpelli-form4.xml"
every_filing = pytest.mark.parametrize("path", FILINGS, ids=lambda path: path.name)


def read(name: str) -> OwnershipDocument:
    return parse_ownership((DATA / "sec" / "filings" / name).read_bytes())


def naive(path: Path) -> ET.Element:
    text = path.read_text()
    return ET.fromstring(text[text.index("<ownershipDocument") :].split("</XML>")[0].strip())


def value(row: ET.Element, path: str) -> str:
    return " ".join((row.findtext(f"{path}/value") or "").split())


def number(row: ET.Element, path: str) -> Decimal | None:
    text = value(row, path)
    return Decimal(text) if text else None


def day(row: ET.Element, path: str) -> date | None:
    text = value(row, path)
    return date.fromisoformat(text) if text else None


def notes(row: ET.Element) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note.attrib["id"] for note in row.iter("footnoteId")))


def filing(body: str = "", *, head: str = "", form: str = "4", tail: str = "") -> bytes:
    return f"""<?xml version="1.0"?>
<ownershipDocument><schemaVersion>X0508</schemaVersion><documentType>{form}</documentType>
<periodOfReport>2024-03-01</periodOfReport>{head}
<issuer><issuerCik>0000000007</issuerCik><issuerName>Acme</issuerName>
<issuerTradingSymbol>ACME</issuerTradingSymbol></issuer>
<reportingOwner><reportingOwnerId><rptOwnerCik>0000000009</rptOwnerCik>
<rptOwnerName>DOE JANE</rptOwnerName></reportingOwnerId></reportingOwner>
<nonDerivativeTable>{body}</nonDerivativeTable>{tail}</ownershipDocument>""".encode()


def row(amounts: str, coding: str = "<transactionCode>S</transactionCode>") -> str:
    return f"""<nonDerivativeTransaction>
<securityTitle><value>Common</value></securityTitle>
<transactionDate><value>2024-03-01</value></transactionDate>
<transactionCoding>{coding}</transactionCoding>
<transactionAmounts>{amounts}</transactionAmounts></nonDerivativeTransaction>"""


SHARES = "<transactionShares><value>10</value></transactionShares>"


def only_row(document: bytes) -> Transaction:
    (transaction,) = parse_ownership(document).transactions
    return transaction


# --- the real filings ---------------------------------------------------------------------------


def test_the_manifest_describes_every_file() -> None:
    entries = json.loads((DATA / "manifest.json").read_text())["files"]
    sums = {entry["file"]: entry["sha256"] for entry in entries}
    folders = (DATA / "sec", DATA / "made", DATA / "injections")
    files = {str(p.relative_to(DATA)): p for f in folders for p in f.rglob("*") if p.is_file()}
    assert sums == {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items()}


@every_filing
@pytest.mark.parametrize("table", ["nonDerivative", "derivative"])
def test_every_transaction_equals_the_filing(path: Path, table: str) -> None:
    document = read(path.name)
    parsed = [t for t in document.transactions if (t.table == DERIVATIVE) == (table[0] == "d")]
    assert [
        (
            t.security_title,
            t.transaction_date,
            t.code,
            t.acquired_disposed,
            t.shares,
            t.price,
            t.shares_owned_after,
            t.ownership,
            t.ownership_nature,
            t.footnote_ids,
        )
        for t in parsed
    ] == [
        (
            value(r, "securityTitle"),
            day(r, "transactionDate"),
            r.findtext("transactionCoding/transactionCode"),
            value(r, "transactionAmounts/transactionAcquiredDisposedCode"),
            number(r, "transactionAmounts/transactionShares"),
            number(r, "transactionAmounts/transactionPricePerShare"),
            number(r, "postTransactionAmounts/sharesOwnedFollowingTransaction"),
            value(r, "ownershipNature/directOrIndirectOwnership"),
            value(r, "ownershipNature/natureOfOwnership"),
            notes(r),
        )
        for r in naive(path).iter(f"{table}Transaction")
    ]


@every_filing
@pytest.mark.parametrize("table", ["nonDerivative", "derivative"])
def test_every_holding_equals_the_filing(path: Path, table: str) -> None:
    document = read(path.name)
    derivative = table == "derivative"
    parsed = document.derivative_holdings if derivative else document.non_derivative_holdings
    assert [
        (h.security_title, h.shares_owned, h.ownership, h.ownership_nature, h.footnote_ids)
        for h in parsed
    ] == [
        (
            value(r, "securityTitle"),
            number(r, "postTransactionAmounts/sharesOwnedFollowingTransaction"),
            value(r, "ownershipNature/directOrIndirectOwnership"),
            value(r, "ownershipNature/natureOfOwnership"),
            notes(r),
        )
        for r in naive(path).iter(f"{table}Holding")
    ]


@every_filing
def test_every_derivative_term_equals_the_filing(path: Path) -> None:
    document = read(path.name)
    rows = sorted(document.derivative_transactions + document.derivative_holdings, key=_row)
    terms = [r.terms for r in rows]
    table = naive(path).find("derivativeTable")
    assert [
        (
            t.conversion_price,
            t.exercise_date,
            t.expiration_date,
            t.underlying_title,
            t.underlying_shares,
        )
        for t in terms
        if t is not None
    ] == [
        (
            number(r, "conversionOrExercisePrice"),
            day(r, "exerciseDate"),
            day(r, "expirationDate"),
            value(r, "underlyingSecurity/underlyingSecurityTitle"),
            number(r, "underlyingSecurity/underlyingSecurityShares"),
        )
        for r in (table if table is not None else ())
    ]


def _row(item: object) -> int:
    return int(item.row)  # type: ignore[attr-defined]


@every_filing
def test_no_number_of_a_filing_is_left_behind(path: Path) -> None:
    document = read(path.name)
    figures = re.findall(r"Decimal\('([\d.]+)'\)", repr(document.transactions + document.holdings))
    values = (v.text or "" for v in naive(path).iter("value"))
    assert sorted(figures) == sorted(v for v in values if re.fullmatch(r"[\d.]+", v))


@every_filing
def test_footnotes_equal_the_filing(path: Path) -> None:
    filed = {n.attrib["id"]: " ".join((n.text or "").split()) for n in naive(path).iter("footnote")}
    assert dict(read(path.name).footnotes) == filed


@every_filing
def test_owners_equal_the_filing(path: Path) -> None:
    filed = naive(path).findall("reportingOwner/reportingOwnerId")
    assert [(o.cik, o.name) for o in read(path.name).owners] == [
        (int(o.findtext("rptOwnerCik") or 0), o.findtext("rptOwnerName")) for o in filed
    ]


def test_adams_sold_seven_lots_at_these_prices() -> None:
    lots = [(t.shares, str(t.price)) for t in read(ADAMS).transactions]
    assert lots == [
        (Decimal(9136), "159.94"),
        (Decimal(5316), "160.82"),
        (Decimal(4006), "161.93"),
        (Decimal(900), "162.77"),
        (Decimal(1550), "163.94"),
        (Decimal(1800), "165.06"),
        (Decimal(2292), "165.95"),
    ]


def test_adams_sold_25000_shares() -> None:
    assert sum(t.shares or 0 for t in read(ADAMS).transactions) == 25_000


def test_adams_plan_is_told_in_a_footnote() -> None:
    document = read(ADAMS)
    assert document.under_10b5_1 is None
    assert all(is_planned(document, t) for t in document.transactions)


def test_scarpelli_exercised_at_8_88_and_sold_what_he_got() -> None:
    exercise, *sales = read(SCARPELLI).non_derivative_transactions
    assert (exercise.code, exercise.price) == ("M", Decimal("8.88"))
    assert sum(s.shares or 0 for s in sales) == exercise.shares == 200_000


def test_scarpelli_option_has_its_terms() -> None:
    (option,) = read(SCARPELLI).derivative_transactions
    assert option.price == 0
    assert option.terms is not None
    assert option.terms.exercise_date is None
    assert option.terms.expiration_date == date(2029, 8, 26)


def test_a_price_of_zero_is_zero() -> None:
    assert read("snowflake-mcmahon-form5.xml").transactions[0].price == Decimal(0)


def test_owning_nothing_is_an_answer() -> None:
    document = read("sunpower-hegde-form3-no-securities.xml")
    assert document.no_securities_owned
    assert document.holdings == ()


def test_a_joint_filing_names_both_owners() -> None:
    owners = read("snowflake-berkshire-buffett-form3.xml").owners
    assert [o.name for o in owners] == ["BERKSHIRE HATHAWAY INC", "BUFFETT WARREN E"]


def test_an_unticked_plan_box_is_no_plan() -> None:
    assert read("0001127602-25-001055.txt").under_10b5_1 is False


def test_the_role_names_the_title() -> None:
    assert read(SCARPELLI).owners[0].role == "officer (Chief Financial Officer)"


# --- what the specification allows --------------------------------------------------------------


def test_a_value_told_only_in_a_footnote_is_none() -> None:
    amounts = '<transactionShares><footnoteId id="F1"/></transactionShares>'
    assert only_row(filing(row(amounts))).shares is None


def test_footnotes_of_any_sub_element_belong_to_the_row() -> None:
    amounts = '<transactionShares><value>1</value><footnoteId id="F9"/></transactionShares>'
    coding = '<transactionCode>S</transactionCode><footnoteId id="F2"/>'
    assert only_row(filing(row(amounts, coding))).footnote_ids == ("F2", "F9")


def test_a_transaction_without_coding_has_no_code() -> None:
    body = row(SHARES).replace("<transactionCoding><transactionCode>S</transactionCode>", "")
    transaction = only_row(filing(body.replace("</transactionCoding>", "")))
    assert (transaction.code, transaction_kind(transaction.code)) == ("", "not given")


@pytest.mark.parametrize(("text", "flag"), [("1", True), ("true", True), ("0", False)])
def test_the_plan_box_is_a_boolean(text: str, flag: bool) -> None:
    head = f"<aff10b5One>{text}</aff10b5One>"
    assert parse_ownership(filing(head=head)).under_10b5_1 is flag


def test_a_date_may_carry_a_time_zone() -> None:
    body = row(SHARES).replace("2024-03-01", "2024-03-01-05:00")
    assert only_row(filing(body)).transaction_date == date(2024, 3, 1)


def test_holdings_count_as_rows_of_their_table() -> None:
    holding = "<nonDerivativeHolding><securityTitle/></nonDerivativeHolding>"
    assert only_row(filing(holding + row(SHARES))).row == 1


def test_only_purchases_and_sales_are_market_trades() -> None:
    assert {"P", "S"} == MARKET_TRADES
    assert set("PSADFIMCEHOXGLWZJU") <= set(TRANSACTION_KINDS)


def test_an_amendment_tells_the_day_of_its_original() -> None:
    head = "<dateOfOriginalSubmission>2024-02-02</dateOfOriginalSubmission>"
    document = parse_ownership(filing(head=head, form="4/A"))
    assert document.date_of_original_submission == date(2024, 2, 2)


@given(st.decimals(0, 10**12, places=4, allow_nan=False))
def test_decimals_are_exact(price: Decimal) -> None:
    amounts = f"<transactionPricePerShare><value>{price:f}</value></transactionPricePerShare>"
    assert str(only_row(filing(row(amounts))).price) == f"{price:f}"
