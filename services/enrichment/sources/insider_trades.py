"""Which rows of a company's ownership filings are one person's trades; pure.

An amendment supersedes only the tables that it restates: where a 4/A has transactions in a table,
that table of the original (same issuer, owner, period and day of original submission) is dropped,
and that of an earlier amendment too. Where several originals fit, none is dropped, since the
amendment does not say which of them it amends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from services.enrichment.findings import InsiderTrade
from services.enrichment.sources.names import match_owner
from services.enrichment.sources.ownership import (
    DERIVATIVE,
    MARKET_TRADES,
    NON_DERIVATIVE,
    OwnershipDocument,
    ReportingOwner,
    Transaction,
    is_planned,
    transaction_kind,
)


@dataclass(frozen=True, slots=True)
class ReadFiling:
    """A filing that was read: what EDGAR's index says of it, and what it says itself."""

    accession_number: str
    filed_on: date | None
    url: str
    document: OwnershipDocument


def trades_of(person: str, issuer_cik: int, filings: Sequence[ReadFiling]) -> list[InsiderTrade]:
    """Return the person's trades, newest first; `filings` are newest first."""
    ours = [filing for filing in filings if filing.document.issuer.cik == issuer_cik]
    owner_ciks = _owner_ciks(person, ours)
    owned = [
        (filing, owner)
        for filing in ours
        if (owner := _owner(filing.document, owner_ciks)) is not None
    ]
    superseded = _superseded(owned)
    trades = [
        _trade(filing, owner, transaction)
        for filing, owner in owned
        for transaction in filing.document.transactions
        if (filing.accession_number, transaction.table) not in superseded
    ]
    return sorted(trades, key=lambda trade: trade.transaction_date or date.min, reverse=True)


def _owner_ciks(person: str, filings: Iterable[ReadFiling]) -> frozenset[int]:
    """Return the SEC numbers of the best matching owner; none where two people match as well."""
    best: dict[str, set[int]] = {}
    confidence = 0.0
    for owner in {owner for filing in filings for owner in filing.document.owners}:
        match = match_owner(person, owner.name)
        if match is None or match.confidence < confidence:
            continue
        if match.confidence > confidence:
            best, confidence = {}, match.confidence
        # One person may have two numbers, and one number two spellings; two people differ in both.
        best.setdefault(" ".join(sorted(owner.name.upper().split())), set()).add(owner.cik)
    numbers = list(best.values())
    same = not numbers or all(numbers[0] & other for other in numbers)
    return frozenset().union(*numbers) if same else frozenset()


def _owner(document: OwnershipDocument, ciks: frozenset[int]) -> ReportingOwner | None:
    """Return the person among the owners: the first, so that a trade of several counts once."""
    return next((owner for owner in document.owners if owner.cik in ciks), None)


def _superseded(owned: Sequence[tuple[ReadFiling, ReportingOwner]]) -> set[tuple[str, str]]:
    """Return (accession number, table) of what a later amendment restates."""
    groups: dict[tuple[object, ...], list[ReadFiling]] = {}
    for filing, owner in owned:
        document = filing.document
        form, _, amended = document.document_type.partition("/")
        original_day = document.date_of_original_submission if amended else filing.filed_on
        if original_day is not None:
            key = (owner.cik, form, document.period, original_day)
            groups.setdefault(key, []).append(filing)
    return {pair for group in groups.values() for pair in _restated(group)}


def _restated(group: Sequence[ReadFiling]) -> Iterable[tuple[str, str]]:
    """Yield what one filing and its amendments, newest first, no longer say."""
    if sum(not _is_amendment(filing) for filing in group) > 1:
        return
    for table in (NON_DERIVATIVE, DERIVATIVE):
        standing = next(
            (
                filing
                for filing in group
                if _is_amendment(filing)
                and any(row.table == table for row in filing.document.transactions)
            ),
            None,
        )
        for filing in group:
            if standing is not None and filing is not standing:
                yield filing.accession_number, table


def _is_amendment(filing: ReadFiling) -> bool:
    return filing.document.document_type.endswith("/A")


def _trade(filing: ReadFiling, owner: ReportingOwner, row: Transaction) -> InsiderTrade:
    document = filing.document
    return InsiderTrade(
        accession_number=filing.accession_number,
        table=row.table,
        row=row.row,
        form=document.document_type,
        filing_url=filing.url,
        owner_name=owner.name,
        owner_cik=owner.cik,
        owner_role=owner.role,
        security_title=row.security_title,
        transaction_date=row.transaction_date,
        transaction_code=row.code,
        transaction_kind=transaction_kind(row.code),
        is_market_trade=row.code in MARKET_TRADES,
        acquired_disposed=row.acquired_disposed,
        shares=row.shares,
        price_per_share=row.price,
        shares_owned_after=row.shares_owned_after,
        under_10b5_1_plan=is_planned(document, row),
        footnotes=tuple(
            note for name in row.footnote_ids if (note := document.footnotes.get(name))
        ),
    )
