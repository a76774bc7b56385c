"""Reads a filing of insider ownership: SEC Forms 3, 4 and 5 and their amendments.

Written to EDGAR's Ownership XML Technical Specification. A value that is there and cannot be read
refuses the whole document, because a trade with a guessed figure is worse than none.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from string import ascii_uppercase
from typing import Any, TypeVar

from services.enrichment.sources.edgar.filing_xml import (
    FIELDS,
    KNOWN_TAGS,
    ROW_TAGS,
    OwnershipError,
    local_name,
    own_elements,
    own_text_of,
    read_tree,
    text_of,
)
from services.enrichment.sources.edgar.form import (
    DERIVATIVE,
    DOCUMENT_TYPES,
    NON_DERIVATIVE,
    DerivativeTerms,
    FieldNote,
    Holding,
    Issuer,
    OwnershipDocument,
    ReportingOwner,
    Transaction,
)

_DECIMAL = re.compile(r"\+?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})")
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:Z|[+-]\d{2}:\d{2})?")
_CIK = re.compile(r"\d{1,10}")
_LOST_BRACKET = re.compile(r"</?value\b|\bvalue>")
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
        remarks=head.prose("remarks"),
        signed_on=_signed_on(root),
    )


class _Record:
    """The fields of one record by element name; each field occurs once in the specification."""

    def __init__(self, element: Any) -> None:
        self._fields: dict[str, Any] = {}
        notes: dict[FieldNote, None] = {}
        for child in own_elements(element):
            name = local_name(child)
            if name == "footnoteId":
                notes.setdefault(FieldNote(_field_of(child, element), _note_id(child)))
            elif name == "securityTitle" and name in self._fields:
                raise OwnershipError("the document is broken: two rows run into each other")
            # A beginning that is there twice nests the field in itself: the inner one counts.
            if name not in self._fields or self._fields[name] is child.getparent():
                self._keep(name, child)
        self.field_notes = tuple(note for note in notes if note.footnote_id)
        self.footnote_ids = tuple(dict.fromkeys(note.footnote_id for note in self.field_notes))

    def _keep(self, name: str, child: Any) -> None:
        outer = self._fields.get(name)
        if outer is not None and own_text_of(outer):
            raise OwnershipError(f"the document is broken: a <{name}> has lost its end")
        self._fields[name] = child

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
        values = [child for child in field if local_name(child) == "value"]
        text = text_of(values[0]) if values else own_text_of(field)
        is_broken = len(values) > 1 or any(_is_garbled(child) for child in field)
        if (name in FIELDS and is_broken) or _LOST_BRACKET.search(text):
            raise OwnershipError(f"the document's <{name}> cannot be read")
        return text

    def prose(self, name: str) -> str:
        """Return the field's text with what stands in markup, such as <b>, of its own."""
        field = self._fields.get(name)
        if field is None:
            return ""
        is_marked = all(local_name(each) not in KNOWN_TAGS for each in field.iterdescendants())
        return text_of(field) if is_marked else own_text_of(field)

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
            return Issuer(
                cik=issuer.cik("issuerCik"),
                name=issuer.text("issuerName"),
                trading_symbol=issuer.text("issuerTradingSymbol"),
                foreign_trading_symbol=issuer.text("issuerForeignTradingSymbol"),
            )
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
        code=_code(record),
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
        field_notes=record.field_notes,
    )


def _code(record: _Record) -> str:
    """Return the transaction's code; a coding without one has lost it."""
    code = record.letter("transactionCode", ascii_uppercase)
    has_note = any(note.field == "transaction_code" for note in record.field_notes)
    if not code and record.has("transactionCoding") and not has_note:
        raise OwnershipError("the document is broken: a row has lost its <transactionCode>")
    return code


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
        field_notes=record.field_notes,
        form_type=record.text("transactionFormType"),
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
            notes.setdefault(_note_id(element), text_of(element))
    return notes


def _note_id(element: Any) -> str:
    return str(element.get("id", "")).strip().upper()


def _field_of(note: Any, record: Any) -> str:
    """Return the field that a footnote stands in; "" where it is the row's as a whole."""
    above = note.getparent()
    while above is not record and local_name(above) not in FIELDS:
        if local_name(above) == "transactionCoding":
            return "transaction_code"
        above = above.getparent()
    return FIELDS.get(local_name(above), "")


def _is_garbled(element: Any) -> bool:
    """Whether an element in a field is none that can stand there, and has a text."""
    return local_name(element) not in KNOWN_TAGS and bool(text_of(element))


def _signed_on(root: Any) -> date | None:
    """Return the day of the last signature; None where there is none that can be read."""
    days = []
    for element in root.iter():
        if local_name(element) == "signatureDate":
            with contextlib.suppress(OwnershipError):
                days.append(_Record(element.getparent()).date("signatureDate"))
    return max((day for day in days if day), default=None)
