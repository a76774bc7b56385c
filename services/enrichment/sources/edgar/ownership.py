"""Reads a filing of insider ownership: SEC Forms 3, 4 and 5 and their amendments.

Written to EDGAR's Ownership XML Technical Specification. A value that is there and cannot be read
refuses the whole document, because a trade with a guessed figure is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from string import ascii_uppercase
from typing import Any, TypeVar

from services.enrichment.sources.edgar.filing_xml import (
    ROW_TAGS,
    OwnershipError,
    local_name,
    own_elements,
    own_text_of,
    read_tree,
    text_of,
    xml_block,
)
from services.enrichment.sources.edgar.form import (
    DERIVATIVE,
    DOCUMENT_TYPES,
    MARKET_TRADES,
    NON_DERIVATIVE,
    TRANSACTION_KINDS,
    DerivativeTerms,
    Holding,
    Issuer,
    OwnershipDocument,
    ReportingOwner,
    Transaction,
    is_planned,
    transaction_kind,
)

__all__ = [
    "DERIVATIVE",
    "DOCUMENT_TYPES",
    "MARKET_TRADES",
    "NON_DERIVATIVE",
    "TRANSACTION_KINDS",
    "DerivativeTerms",
    "Holding",
    "Issuer",
    "OwnershipDocument",
    "OwnershipError",
    "ReportingOwner",
    "Transaction",
    "is_planned",
    "parse_ownership",
    "transaction_kind",
    "xml_block",
]

_DECIMAL = re.compile(r"\+?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})")
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:Z|[+-]\d{2}:\d{2})?")
_CIK = re.compile(r"\d{1,10}")
_BOOLEANS: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}

T = TypeVar("T")


def parse_ownership(document: bytes) -> OwnershipDocument:
    """Read an ownership filing, raw XML or full submission; OwnershipError says what is wrong."""
    root = read_tree(document)
    head = _Record(root)
    if head.has("securityTitle"):
        raise OwnershipError("the document is broken: a row has lost its tags")
    document_type = head.text("documentType").upper()
    if document_type not in DOCUMENT_TYPES:
        raise OwnershipError("the document's type is not one of 3, 3/A, 4, 4/A, 5, 5/A")
    transactions, holdings = _rows(root)
    return OwnershipDocument(
        document_type=document_type,
        period=head.date("periodOfReport"),
        date_of_original_submission=head.date("dateOfOriginalSubmission"),
        schema_version=head.text("schemaVersion"),
        issuer=_issuer(root),
        owners=_owners(root),
        no_securities_owned=head.flag("noSecuritiesOwned") or False,
        not_subject_to_section_16=head.flag("notSubjectToSection16") or False,
        under_10b5_1=head.flag("aff10b5One"),
        form_3_holdings_reported=head.flag("form3HoldingsReported") or False,
        form_4_transactions_reported=head.flag("form4TransactionsReported") or False,
        non_derivative_transactions=tuple(t for t in transactions if t.table == NON_DERIVATIVE),
        derivative_transactions=tuple(t for t in transactions if t.table == DERIVATIVE),
        non_derivative_holdings=tuple(h for h in holdings if h.table == NON_DERIVATIVE),
        derivative_holdings=tuple(h for h in holdings if h.table == DERIVATIVE),
        footnotes=_footnotes(root),
        remarks=head.text("remarks"),
    )


class _Record:
    """The fields of one record by element name; each field occurs once in the specification."""

    def __init__(self, element: Any) -> None:
        self.footnote_ids: tuple[str, ...] = ()
        self._fields: dict[str, Any] = {}
        notes: dict[str, None] = {}
        for child in own_elements(element):
            name = local_name(child)
            if name == "footnoteId":
                notes.setdefault(child.get("id", "").strip())
            elif name == "securityTitle" and name in self._fields:
                raise OwnershipError("the document is broken: two rows run into each other")
            # A beginning that is there twice nests the field in itself: the inner one counts.
            if name not in self._fields or self._fields[name] is child.getparent():
                self._fields[name] = child
        self.footnote_ids = tuple(note for note in notes if note)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no field at all."""
        return not self._fields

    def has(self, name: str) -> bool:
        """Tell whether the field is there, with or without a value."""
        return name in self._fields

    def text(self, name: str) -> str:
        """Return the field's `<value>`, or its own text where it has none; "" if absent."""
        field = self._fields.get(name)
        if field is None:
            return ""
        for child in field:
            if local_name(child) == "value":
                return text_of(child)
        return own_text_of(field)

    def decimal(self, name: str) -> Decimal | None:
        """Return an exact number, None if absent."""
        return self._read(name, _DECIMAL, lambda match: Decimal(match[0]))

    def date(self, name: str) -> date | None:
        """Return a date without the time zone that some filings carry, None if absent."""
        return self._read(name, _DATE, lambda match: date.fromisoformat(match[1]))

    def letter(self, name: str, allowed: str) -> str:
        """Return a one-letter code, "" if absent."""
        code = self.text(name).upper()
        if code and (len(code) > 1 or code not in allowed):
            raise OwnershipError(f"the document's <{name}> cannot be read")
        return code

    def cik(self, name: str) -> int:
        """Return an SEC number, which must be there."""
        number = self._read(name, _CIK, lambda match: int(match[0]))
        if number is None:
            raise OwnershipError(f"the document has no <{name}>")
        return number

    def flag(self, name: str) -> bool | None:
        """Return a boolean, None if absent or neither true nor false."""
        return _BOOLEANS.get(self.text(name).lower())

    def _read(
        self, name: str, pattern: re.Pattern[str], build: Callable[[re.Match[str]], T]
    ) -> T | None:
        text = self.text(name)
        if not text:
            return None
        match = pattern.fullmatch(text)
        try:
            if match is not None:
                return build(match)
        except ValueError:
            pass  # such as 30 February: told below, without the value
        raise OwnershipError(f"the document's <{name}> cannot be read")


def _issuer(root: Any) -> Issuer:
    for element in root.iter():
        if local_name(element) == "issuer":
            issuer = _Record(element)
            name, symbol = issuer.text("issuerName"), issuer.text("issuerTradingSymbol")
            return Issuer(issuer.cik("issuerCik"), name, symbol)
    raise OwnershipError("the document names no issuer")


def _owners(root: Any) -> tuple[ReportingOwner, ...]:
    owners = tuple(
        _owner(_Record(element))
        for element in root.iter()
        if local_name(element) == "reportingOwner"
    )
    if not owners:
        raise OwnershipError("the document names no reporting owner")
    return owners


def _owner(record: _Record) -> ReportingOwner:
    return ReportingOwner(
        cik=record.cik("rptOwnerCik"),
        name=record.text("rptOwnerName"),
        is_director=record.flag("isDirector") or False,
        is_officer=record.flag("isOfficer") or False,
        is_ten_percent_owner=record.flag("isTenPercentOwner") or False,
        is_other=record.flag("isOther") or False,
        officer_title=record.text("officerTitle"),
        other_text=record.text("otherText"),
    )


def _rows(root: Any) -> tuple[list[Transaction], list[Holding]]:
    transactions: list[Transaction] = []
    holdings: list[Holding] = []
    counts = {NON_DERIVATIVE: 0, DERIVATIVE: 0}
    for element in root.iter():
        name = local_name(element)
        if name not in ROW_TAGS:
            continue
        table = DERIVATIVE if name.startswith("derivative") else NON_DERIVATIVE
        record, row = _Record(element), counts[table]
        if record.is_empty:
            raise OwnershipError("the document is broken: a row has no fields")
        counts[table] += 1
        if name.endswith("Transaction"):
            transactions.append(_transaction(record, table, row))
        else:
            holdings.append(_holding(record, table, row))
    return transactions, holdings


def _transaction(record: _Record, table: str, row: int) -> Transaction:
    return Transaction(
        table=table,
        row=row,
        security_title=record.text("securityTitle"),
        transaction_date=record.date("transactionDate"),
        deemed_execution_date=record.date("deemedExecutionDate"),
        form_type=record.text("transactionFormType"),
        code=record.letter("transactionCode", ascii_uppercase),
        equity_swap=record.flag("equitySwapInvolved") or False,
        timeliness=record.text("transactionTimeliness"),
        acquired_disposed=record.letter("transactionAcquiredDisposedCode", "AD"),
        shares=record.decimal("transactionShares"),
        total_value=record.decimal("transactionTotalValue"),
        price=record.decimal("transactionPricePerShare"),
        shares_owned_after=record.decimal("sharesOwnedFollowingTransaction"),
        value_owned_after=record.decimal("valueOwnedFollowingTransaction"),
        ownership=record.letter("directOrIndirectOwnership", "DI"),
        ownership_nature=record.text("natureOfOwnership"),
        footnote_ids=record.footnote_ids,
        terms=_terms(record) if table == DERIVATIVE else None,
    )


def _holding(record: _Record, table: str, row: int) -> Holding:
    return Holding(
        table=table,
        row=row,
        security_title=record.text("securityTitle"),
        shares_owned=record.decimal("sharesOwnedFollowingTransaction"),
        value_owned=record.decimal("valueOwnedFollowingTransaction"),
        ownership=record.letter("directOrIndirectOwnership", "DI"),
        ownership_nature=record.text("natureOfOwnership"),
        footnote_ids=record.footnote_ids,
        terms=_terms(record) if table == DERIVATIVE else None,
    )


def _terms(record: _Record) -> DerivativeTerms:
    return DerivativeTerms(
        conversion_price=record.decimal("conversionOrExercisePrice"),
        exercise_date=record.date("exerciseDate"),
        expiration_date=record.date("expirationDate"),
        underlying_title=record.text("underlyingSecurityTitle"),
        underlying_shares=record.decimal("underlyingSecurityShares"),
        underlying_value=record.decimal("underlyingSecurityValue"),
    )


def _footnotes(root: Any) -> dict[str, str]:
    notes: dict[str, str] = {}
    for element in root.iter():
        if local_name(element) == "footnote":
            notes.setdefault(element.get("id", "").strip(), text_of(element))
    return notes
