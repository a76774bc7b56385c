"""The values of an ownership filing, and the table of what its transaction codes mean.

A value is None or "" where the filing gives none (often only a footnote stands there): absent is
not zero. Direction is in `acquired_disposed` (A or D), never in a sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

NON_DERIVATIVE = "non_derivative"
DERIVATIVE = "derivative"
FIRST_YEAR = 1934
"""The year of the Securities Exchange Act, whose section 16 demands these reports."""
DOCUMENT_TYPES = frozenset({"3", "3/A", "4", "4/A", "5", "5/A"})

# Form 4, general instruction 8. K and V are flags in the XML; paper filings wrote them as codes.
TRANSACTION_KINDS: Mapping[str, str] = {
    "P": "open market or private purchase",
    "S": "open market or private sale",
    "V": "transaction voluntarily reported early",
    "A": "grant, award or other acquisition from the issuer",
    "D": "disposition to the issuer",
    "F": "payment of exercise price or tax by delivering or withholding securities",
    "I": "discretionary transaction in an employee plan",
    "M": "exercise or conversion of an exempt derivative security",
    "C": "conversion of a derivative security",
    "E": "expiration of a short derivative position",
    "H": "expiration or cancellation of a long derivative position with value received",
    "O": "exercise of an out-of-the-money derivative security",
    "X": "exercise of an in-the-money or at-the-money derivative security",
    "G": "bona fide gift",
    "L": "small acquisition",
    "W": "acquisition or disposition by will or inheritance",
    "Z": "deposit into or withdrawal from a voting trust",
    "J": "other acquisition or disposition",
    "K": "equity swap or similar instrument",
    "U": "tender of shares in a change of control",
}
MARKET_TRADES = frozenset({"P", "S"})


@dataclass(frozen=True, slots=True)
class Issuer:
    """The company whose securities are reported."""

    cik: int
    name: str
    trading_symbol: str
    foreign_trading_symbol: str = ""


@dataclass(frozen=True, slots=True)
class ReportingOwner:
    """Who reports, by the name as filed; none of several owners is the primary one."""

    cik: int
    name: str
    is_director: bool
    is_officer: bool
    is_ten_percent_owner: bool
    is_other: bool
    officer_title: str
    other_text: str

    @property
    def role(self) -> str:
        """Say the relation to the issuer in words, as the flags and their texts give it."""
        officer = f"officer ({self.officer_title})" if self.officer_title else "officer"
        other = f"other ({self.other_text})" if self.other_text else "other"
        roles = (
            (self.is_director, "director"),
            (self.is_officer, officer),
            (self.is_ten_percent_owner, "ten percent owner"),
            (self.is_other, other),
        )
        return ", ".join(words for flag, words in roles if flag)


@dataclass(frozen=True, slots=True)
class DerivativeTerms:
    """What a derivative security turns into, when and at what price."""

    conversion_price: Decimal | None
    exercise_date: date | None
    expiration_date: date | None
    underlying_title: str
    underlying_shares: Decimal | None
    underlying_value: Decimal | None


@dataclass(frozen=True, slots=True)
class FieldNote:
    """A field of a row, and the footnote that it refers to; "" is the row as a whole."""

    field: str
    footnote_id: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction; `row` is its number among all rows of its table, holdings included."""

    table: str
    row: int
    security_title: str
    transaction_date: date | None
    deemed_execution_date: date | None
    form_type: str
    code: str
    equity_swap: bool
    timeliness: str
    acquired_disposed: str
    shares: Decimal | None
    total_value: Decimal | None
    price: Decimal | None
    shares_owned_after: Decimal | None
    value_owned_after: Decimal | None
    ownership: str
    ownership_nature: str
    footnote_ids: tuple[str, ...]
    terms: DerivativeTerms | None
    field_notes: tuple[FieldNote, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """One holding without a transaction; `row` counts as in Transaction.

    `form_type` is 3 on a Form 5 that reports a holding which a Form 3 should have.
    """

    table: str
    row: int
    security_title: str
    shares_owned: Decimal | None
    value_owned: Decimal | None
    ownership: str
    ownership_nature: str
    footnote_ids: tuple[str, ...]
    terms: DerivativeTerms | None
    field_notes: tuple[FieldNote, ...] = ()
    form_type: str = ""


@dataclass(frozen=True, slots=True)
class OwnershipDocument:
    """One Form 3, 4 or 5 as filed; `under_10b5_1` is None on forms older than the checkbox."""

    document_type: str
    period: date | None
    date_of_original_submission: date | None
    schema_version: str
    issuer: Issuer
    owners: tuple[ReportingOwner, ...]
    no_securities_owned: bool
    not_subject_to_section_16: bool
    under_10b5_1: bool | None
    form_3_holdings_reported: bool
    form_4_transactions_reported: bool
    non_derivative_transactions: tuple[Transaction, ...]
    derivative_transactions: tuple[Transaction, ...]
    non_derivative_holdings: tuple[Holding, ...]
    derivative_holdings: tuple[Holding, ...]
    footnotes: Mapping[str, str]
    remarks: str
    signed_on: date | None = None

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        """Return the transactions of both tables, in the filing's order."""
        return self.non_derivative_transactions + self.derivative_transactions

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """Return the holdings of both tables, in the filing's order."""
        return self.non_derivative_holdings + self.derivative_holdings


def transaction_kind(code: str) -> str:
    """Say in words what a transaction code stands for."""
    return TRANSACTION_KINDS.get(code, "unknown" if code else "not given")


def notes_of(document: OwnershipDocument, row: Transaction) -> tuple[str, ...]:
    """Return the texts of the footnotes that a row refers to."""
    return tuple(note for name in row.footnote_ids if (note := document.footnotes.get(name)))


def doubt_of_date(
    document: OwnershipDocument, row: Transaction, filed_on: date | None = None
) -> str:
    """Say why a row's day cannot be right; empty where it can: no trade follows its report."""
    day, latest = row.transaction_date, filed_on or document.signed_on
    if day is None:
        return ""
    if day.year < FIRST_YEAR:
        return f"its day, {day}, lies before there were such reports"
    if latest and day > latest:
        return f"its day, {day}, lies after the report"
    return ""


@dataclass(frozen=True, slots=True)
class ReadFiling:
    """A filing that was read: what EDGAR's index says of it, and what it says itself."""

    accession_number: str
    filed_on: date | None
    url: str
    document: OwnershipDocument
    fetched_at: datetime | None = None

    @property
    def form(self) -> str:
        """The form without its mark of an amendment: 4 for 4/A."""
        return self.document.document_type.partition("/")[0]

    @property
    def is_amendment(self) -> bool:
        """Whether it amends another filing."""
        return self.document.document_type.endswith("/A")

    def rows_of(self, table: str) -> tuple[Transaction, ...]:
        """Return the transactions of a table."""
        return tuple(row for row in self.document.transactions if row.table == table)
