"""Which rows of a company's ownership filings are one person's trades; pure.

A row that an amendment restates is superseded (amendments.py) and kept beside the trades. A row in
doubt stays among them, says why, and counts in no total.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from services.enrichment.sources.edgar.amendments import Restatement, restate
from services.enrichment.sources.edgar.form import (
    MARKET_TRADES,
    OwnershipDocument,
    ReadFiling,
    ReportingOwner,
    Transaction,
    doubt_of_date,
    notes_of,
    transaction_kind,
)
from services.enrichment.sources.edgar.plans import is_planned
from services.enrichment.sources.insider_trade import FieldFootnote, InsiderTrade, OwnerMatch
from services.enrichment.sources.person_names import match_owner, words_of


@dataclass(frozen=True, slots=True)
class PersonsTrades:
    """A person's trades, newest first, the superseded ones, and the owners taken for the person."""

    trades: tuple[InsiderTrade, ...]
    superseded: tuple[InsiderTrade, ...]
    owner_matches: tuple[OwnerMatch, ...]
    is_ambiguous: bool = False


def trades_of(person: str, issuer_cik: int, filings: Sequence[ReadFiling]) -> PersonsTrades:
    """Return the person's trades in the issuer's securities; `filings` are newest first."""
    ours = [filing for filing in filings if filing.document.issuer.cik == issuer_cik]
    matches = _owner_matches(person, ours)
    if not _is_one_person(matches):
        return PersonsTrades((), (), (), is_ambiguous=True)
    ciks = {match.owner_cik for match in matches}
    owned = [
        (filing, owner) for filing in ours if (owner := _owner(filing.document, ciks)) is not None
    ]
    restated = restate(filing for filing, _ in owned)
    dated = [
        (_day(filing, transaction), _trade(filing, owner, transaction, restated))
        for filing, owner in owned
        for transaction in filing.document.transactions
    ]
    rows = [row for _, row in sorted(dated, key=lambda each: each[0], reverse=True)]
    return PersonsTrades(
        trades=tuple(row for row in rows if not row.superseded_by),
        superseded=tuple(row for row in rows if row.superseded_by),
        owner_matches=tuple(matches),
    )


def _owner_matches(person: str, filings: Iterable[ReadFiling]) -> list[OwnerMatch]:
    """Return the owners who may be the person; more than one person where that is ambiguous."""
    owners = {(owner.cik, owner.name) for filing in filings for owner in filing.document.owners}
    found = [
        (match, OwnerMatch(cik, name, match.confidence, match.reason))
        for cik, name in sorted(owners)
        if (match := match_owner(person, name)) is not None
    ]
    kind = max((match.kind for match, _ in found), default=None)
    alike = [(match, owner) for match, owner in found if match.kind is kind]
    if not any(match.has_other_suffix for match, _ in alike):  # else father and son are both meant
        most = max((match.agreeing for match, _ in alike), default=0)
        alike = [(match, owner) for match, owner in alike if match.agreeing == most]
    return [owner for _, owner in alike]


def _is_one_person(owners: Sequence[OwnerMatch]) -> bool:
    """One person may have two numbers, and one number two spellings; two people differ in both."""
    known: set[object] = set()
    left = [(owner.owner_cik, frozenset(words_of(owner.owner_name))) for owner in owners]
    while same := [each for each in left if not known or known & {*each}]:
        known |= {mark for each in same[: None if known else 1] for mark in each}
        left = [each for each in left if not known & {*each}]
    return not left


def _owner(document: OwnershipDocument, ciks: set[int]) -> ReportingOwner | None:
    """Return the person among the owners: the first, so that a trade of several counts once."""
    return next((owner for owner in document.owners if owner.cik in ciks), None)


def _day(filing: ReadFiling, row: Transaction) -> date:
    """Return the day by which a row is sorted: one that cannot be right sorts by its report's."""
    if doubt_of_date(filing.document, row, filing.filed_on):
        return filing.document.period or date.min
    return row.transaction_date or date.min


def _trade(
    filing: ReadFiling, owner: ReportingOwner, row: Transaction, restated: Restatement
) -> InsiderTrade:
    document, row_id = filing.document, (filing.accession_number, row.table, row.row)
    doubts = (
        doubt_of_date(document, row, filing.filed_on),
        restated.in_doubt.get(row_id, ""),
    )
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
        footnotes=notes_of(document, row),
        fetched_at=filing.fetched_at,
        superseded_by=restated.superseded_by.get(row_id, ""),
        ownership=row.ownership,
        ownership_nature=row.ownership_nature,
        in_doubt="; ".join(filter(None, doubts)),
        is_plan_box_checked=document.under_10b5_1 or False,
        footnotes_by_field=tuple(
            FieldFootnote(each.field, note)
            for each in row.field_notes
            if (note := document.footnotes.get(each.footnote_id))
        ),
    )
