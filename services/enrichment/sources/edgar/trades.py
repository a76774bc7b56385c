"""Which rows of a company's ownership filings are one person's trades; pure.

An amendment supersedes only the tables that it restates: where a 4/A has transactions in a table,
that table of the original (same issuer, owner, period and day of original submission) is
superseded, and that of an earlier amendment too. What is superseded is kept beside the trades.
Where several originals fit, none is, since the amendment does not say which of them it amends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from services.enrichment.sources.edgar.ownership import (
    DERIVATIVE,
    MARKET_TRADES,
    NON_DERIVATIVE,
    OwnershipDocument,
    ReportingOwner,
    Transaction,
    is_planned,
    transaction_kind,
)
from services.enrichment.sources.findings import InsiderTrade, OwnerMatch
from services.enrichment.sources.person_names import match_owner


@dataclass(frozen=True, slots=True)
class ReadFiling:
    """A filing that was read: what EDGAR's index says of it, and what it says itself."""

    accession_number: str
    filed_on: date | None
    url: str
    document: OwnershipDocument
    fetched_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PersonsTrades:
    """A person's trades, newest first, the superseded ones, and the owners taken for the person."""

    trades: tuple[InsiderTrade, ...]
    superseded: tuple[InsiderTrade, ...]
    owner_matches: tuple[OwnerMatch, ...]


def trades_of(person: str, issuer_cik: int, filings: Sequence[ReadFiling]) -> PersonsTrades:
    """Return the person's trades in the issuer's securities; `filings` are newest first."""
    ours = [filing for filing in filings if filing.document.issuer.cik == issuer_cik]
    matches = _owner_matches(person, ours)
    ciks = {match.owner_cik for match in matches}
    owned = [
        (filing, owner) for filing in ours if (owner := _owner(filing.document, ciks)) is not None
    ]
    superseded = _superseded(owned)
    rows = [
        replace(
            _trade(filing, owner, transaction),
            superseded_by=superseded.get((filing.accession_number, transaction.table), ""),
        )
        for filing, owner in owned
        for transaction in filing.document.transactions
    ]
    rows.sort(key=lambda trade: trade.transaction_date or date.min, reverse=True)
    return PersonsTrades(
        trades=tuple(row for row in rows if not row.superseded_by),
        superseded=tuple(row for row in rows if row.superseded_by),
        owner_matches=tuple(matches),
    )


def _owner_matches(person: str, filings: Iterable[ReadFiling]) -> list[OwnerMatch]:
    """Return the best matching owner by each number and spelling; none where two people match."""
    owners = {(owner.cik, owner.name) for filing in filings for owner in filing.document.owners}
    found = [
        OwnerMatch(cik, name, match.confidence, match.reason)
        for cik, name in sorted(owners)
        if (match := match_owner(person, name)) is not None
    ]
    most = max((each.confidence for each in found), default=0.0)
    best = [each for each in found if each.confidence == most]
    # One person may have two numbers, and one number two spellings; two people differ in both.
    numbers: dict[str, set[int]] = {}
    for each in best:
        spelling = " ".join(sorted(each.owner_name.upper().split()))
        numbers.setdefault(spelling, set()).add(each.owner_cik)
    first, *others = numbers.values() or [set[int]()]
    return best if all(first & other for other in others) else []


def _owner(document: OwnershipDocument, ciks: set[int]) -> ReportingOwner | None:
    """Return the person among the owners: the first, so that a trade of several counts once."""
    return next((owner for owner in document.owners if owner.cik in ciks), None)


def _superseded(
    owned: Sequence[tuple[ReadFiling, ReportingOwner]],
) -> Mapping[tuple[str, str], str]:
    """Return by (accession number, table) the amendment that restates it."""
    groups: dict[tuple[object, ...], list[ReadFiling]] = {}
    for filing, owner in owned:
        document = filing.document
        form, _, amended = document.document_type.partition("/")
        original_day = document.date_of_original_submission if amended else filing.filed_on
        if original_day is not None:
            key = (owner.cik, form, document.period, original_day)
            groups.setdefault(key, []).append(filing)
    return {table: by for group in groups.values() for table, by in _restated(group)}


def _restated(group: Sequence[ReadFiling]) -> Iterable[tuple[tuple[str, str], str]]:
    """Yield each table that an amendment restates, and the amendment; `group` is newest first."""
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
                yield (filing.accession_number, table), standing.accession_number


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
        fetched_at=filing.fetched_at,
        ownership=row.ownership,
        ownership_nature=row.ownership_nature,
        is_plan_box_checked=document.under_10b5_1 or False,
    )
