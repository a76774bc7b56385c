"""The values of an ownership filing, and the table of what its transaction codes mean.

A value is None or "" where the filing gives none (often only a footnote stands there): absent is
not zero. Direction is in `acquired_disposed` (A or D), never in a sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

NON_DERIVATIVE = "non_derivative"
DERIVATIVE = "derivative"
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

_PLAN = re.compile(r"10b-?5\s*[-\u2010-\u2015]?\s*\(?1\b", re.IGNORECASE)
_NOT_PLAN = re.compile(
    r"\b(?:not\s+(?:\w+\s+){0,3}?(?:pursuant to|under|in accordance with|part of|subject to)"
    r"|other than|outside|without)\b[^.;,]{0,60}10b-?5",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The company whose securities are reported."""

    cik: int
    name: str
    trading_symbol: str


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


@dataclass(frozen=True, slots=True)
class Holding:
    """One holding without a transaction; `row` counts as in Transaction."""

    table: str
    row: int
    security_title: str
    shares_owned: Decimal | None
    value_owned: Decimal | None
    ownership: str
    ownership_nature: str
    footnote_ids: tuple[str, ...]
    terms: DerivativeTerms | None


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


def is_planned(document: OwnershipDocument, transaction: Transaction) -> bool:
    """Tell whether the filing says that this transaction was planned under Rule 10b5-1.

    The checkbox speaks for the whole form. Without it (forms before 2023, and plans made before)
    only a footnote of the row can say so.
    """
    if document.under_10b5_1:
        return True
    notes = (document.footnotes.get(name, "") for name in transaction.footnote_ids)
    return any(_PLAN.search(note) and not _NOT_PLAN.search(note) for note in notes)
