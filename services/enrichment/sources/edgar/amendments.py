"""Which rows of earlier filings an amendment restates, and which it may restate; pure.

Form 4, General Instruction 9: an amendment gives each line that it adds, and each line that it
amends complete as amended; other lines are not repeated (many filers repeat them all the same). So
each row of an amendment has at most one counterpart: the row of the amended report that it repeats
or corrects. That one is superseded, every other row stands.

Which report is meant: one filed on the day that the amendment names, or, where none was, one of the
same period filed within days of it (EDGAR dates by its next day what comes after 17:30). Which row:
one that agrees in all but one of security, date, code, figure, price and holding, if no other fits
as well. What the amendment says of itself ("omitted", "incorrectly") and the shares owned after
each row decide where they can. Where it cannot be known, all rows concerned are in doubt.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum

from services.enrichment.sources.edgar.form import (
    DERIVATIVE,
    NON_DERIVATIVE,
    ReadFiling,
    Transaction,
    notes_of,
)
from services.enrichment.sources.insider_trade import security

RowId = tuple[str, str, int]
"""A row by accession number, table and number."""
NEAR = timedelta(days=4)
"""From Friday evening to the day after a holiday."""
SAME_TRADE = timedelta(days=31)
"""How far apart the days of a row and its correction may lie where nothing else links them."""
CLEARLY = Decimal("1.5")
"""So many times nearer a figure must be than the next best, to be the one that is corrected."""

# "omitted a footnote" adds no row.
_LITTLE = (
    r"(?!(?: \w+){0,3}? (?:footnote|exhibit|signature|power of|box|price|address|reference|date)"
    r"s?\b)"
)
_ADDS = re.compile(
    rf"\b(?:omit(?:s|ted|ting)?|omission|not (?:\w+ )?(?:reported|included|disclosed)"
    rf"|failed to (?:report|include|disclose)|previously unreported)\b{_LITTLE}",
    re.IGNORECASE,
)
_CORRECTS = re.compile(
    r"\b(?:correct(?:s|ed|ing|ions?)?|incorrect(?:ly)?|erroneous(?:ly)?|errors?|misstated"
    r"|mistaken(?:ly)?|should have (?:been|read)|typographical|scrivener|overstated|understated"
    r"|revis(?:e|es|ed|ing))\b",
    re.IGNORECASE,
)
_WITHDRAWS = re.compile(
    r"\b(?:(?:did|does) not (?:\w+ )?occur|should not have been (?:filed|reported|included)"
    r"|(?:filed|reported|included) (?:in error|twice)|duplicat\w+|rescind\w*|rescission)\b",
    re.IGNORECASE,
)


class _Link(IntEnum):
    """How an amendment is linked to an earlier filing, surest first."""

    NAMED = 0  # filed on the day that the amendment names
    NEAR = 1  # of the same period, and filed about that day, or no day is named
    POSSIBLE = 2  # of the same period, or filed about that day
    DISTANT = 3


@dataclass(frozen=True, slots=True)
class Restatement:
    """What the amendments do to the rows; `in_doubt` says why, in words."""

    superseded_by: Mapping[RowId, str]
    in_doubt: Mapping[RowId, str]


@dataclass(frozen=True, slots=True)
class _Row:
    filing: ReadFiling
    content: Transaction

    @property
    def id(self) -> RowId:
        return self.filing.accession_number, self.content.table, self.content.row


@dataclass(frozen=True, slots=True)
class _Rank:
    """How near a row is to what it may correct: differing fields, then figures by their ratio."""

    differing: int
    differing_beside: int
    ratio: Decimal

    def is_clearly_before(self, other: _Rank) -> bool:
        mine, theirs = ((rank.differing, rank.differing_beside) for rank in (self, other))
        return mine < theirs or (mine == theirs and self.ratio * CLEARLY <= other.ratio)


def restate(filings: Iterable[ReadFiling]) -> Restatement:
    """Return which rows of one owner's filings are superseded, and which are in doubt."""
    restating = _Restating(sorted(filings, key=_filing_order))
    restating.run()
    return Restatement(restating.superseded_by(), restating.in_doubt)


def _filing_order(filing: ReadFiling) -> tuple[date, bool, str]:
    return filing.filed_on or date.min, filing.is_amendment, filing.accession_number


@dataclass(slots=True)
class _Restating:
    filings: Sequence[ReadFiling]
    in_doubt: dict[RowId, str] = field(default_factory=dict)
    _by: dict[RowId, RowId] = field(default_factory=dict)
    _reports: dict[str, frozenset[str]] = field(default_factory=dict)

    def run(self) -> None:
        """Apply the amendments in the order in which they were filed."""
        for place, filing in enumerate(self.filings):
            self._reports[filing.accession_number] = frozenset({filing.accession_number})
            if filing.is_amendment:
                self._apply(filing, self.filings[:place])

    def superseded_by(self) -> dict[RowId, str]:
        """Return by row the amendment that stands in its place."""
        found = {}
        for row, by in self._by.items():
            last = by
            while last in self._by:
                last = self._by[last]
            found[row] = last[0]
        for row in found:
            self.in_doubt.pop(row, None)
        return found

    def _apply(self, amendment: ReadFiling, earlier: Sequence[ReadFiling]) -> None:
        links = {
            filing.accession_number: _link(amendment, filing)
            for filing in earlier
            if filing.form == amendment.form
        }
        sure = [each for each, link in links.items() if link is _Link.NAMED]
        sure = sure or [each for each, link in links.items() if link is _Link.NEAR]
        reports = frozenset[str]().union(*(self._reports[each] for each in sure))
        if reports:
            self._reports[amendment.accession_number] = reports
        amended = {each for each in links if self._reports[each] & reports}
        for table in (NON_DERIVATIVE, DERIVATIVE):
            left = [_Row(amendment, row) for row in amendment.rows_of(table)]
            left = self._restate(left, self._standing(table, earlier, amended))
            others = self._standing(table, earlier, links.keys() - amended)
            self._doubt_others(left, others, links)
            if _WITHDRAWS.search(_words_of(amendment)):
                for row in self._standing(table, earlier, amended):
                    name = amendment.accession_number
                    self.in_doubt[row.id] = f"amendment {name} may withdraw this row"

    def _standing(
        self, table: str, earlier: Iterable[ReadFiling], among: Iterable[str]
    ) -> list[_Row]:
        rows = (
            _Row(filing, row)
            for filing in earlier
            if filing.accession_number in among
            for row in filing.rows_of(table)
        )
        return [row for row in rows if row.id not in self._by]

    def _restate(self, left: list[_Row], right: list[_Row]) -> list[_Row]:
        """Find the counterparts in the amended report; return the rows that have none."""
        repeated = self._take_repeated(left, right)
        self._take_corrected(left, right)
        if repeated and len(left) == len(right):  # it repeats all else: what is left is in order
            for one, other in zip([*left], [*right], strict=True):
                self._supersede(one, other, left, right)
        self._take_groups(left, right)
        if len(left) == len(right) == 1 and _says_it_corrects(left[0]):
            self._doubt(left, right)
        return left

    def _take_repeated(self, left: list[_Row], right: list[_Row]) -> bool:
        before = len(left)
        for row in [*left]:
            same = [each for each in right if _is_same(row, each)]
            if same:
                best = min(same, key=lambda each: _rank(row, each).differing_beside)
                self._supersede(row, best, left, right)
        return len(left) < before

    def _take_corrected(self, left: list[_Row], right: list[_Row]) -> None:
        """Supersede counterparts as long as there is a row that fits one clearly better."""
        while clear := [pair for row in left if (pair := _clear_counterpart(row, right))]:
            _, row, other = min(clear, key=lambda pair: pair[0])
            self._supersede(row, other, left, right)

    def _take_groups(self, left: list[_Row], right: list[_Row]) -> None:
        """Of rows that fit several: where as many amend them, all are superseded; else in doubt."""
        for rows, others in _groups(left, right):
            surely = all(_is_likely(row, other) for row in rows for other in others)
            if surely and len(rows) >= len(others):
                for row, other in zip(rows, others, strict=False):
                    self._supersede(row, other, left, right)
            else:
                self._doubt(rows, others)

    def _doubt_others(
        self, left: Sequence[_Row], others: list[_Row], links: Mapping[str, _Link]
    ) -> None:
        """Look in filings that the amendment may mean, for what has no counterpart in the sure."""
        for row in left:
            same = next((each for each in others if _is_same(row, each)), None)
            if same:
                self._by[same.id] = row.id
                others.remove(same)
                continue
            meant = [
                each
                for each in others
                if _may_correct(row, each)
                and (links[each.filing.accession_number] < _Link.DISTANT or _is_moved(row, each))
            ]
            if meant:
                self._doubt([row], meant)

    def _supersede(self, row: _Row, other: _Row, left: list[_Row], right: list[_Row]) -> None:
        self._by[other.id] = row.id
        left.remove(row)
        right.remove(other)

    def _doubt(self, rows: Sequence[_Row], others: Sequence[_Row]) -> None:
        amendment = rows[0].filing.accession_number
        filings = sorted({other.filing.accession_number for other in others})
        for other in others:
            self.in_doubt[other.id] = f"amendment {amendment} may restate this row"
        for row in rows:
            self.in_doubt[row.id] = f"it may restate a row of {', '.join(filings)}"


def _link(amendment: ReadFiling, other: ReadFiling) -> _Link:
    named, filed = amendment.document.date_of_original_submission, other.filed_on
    period = amendment.document.period
    same_period = period is not None and period == other.document.period
    if named is None or filed is None:
        return _Link.NEAR if same_period and named is None else _Link.DISTANT
    if named == filed:
        return _Link.NAMED
    is_near = abs(named - filed) <= NEAR
    if is_near and same_period:
        return _Link.NEAR
    return _Link.POSSIBLE if is_near or same_period else _Link.DISTANT


# -- two rows --------------------------------------------------------------------------------------


def _fields(row: Transaction) -> tuple[object, ...]:
    terms = row.terms
    return (
        security(row.security_title),
        row.transaction_date,
        (row.code, row.acquired_disposed),
        (row.shares, row.total_value),
        row.price,
        row.ownership,
        terms and (terms.conversion_price, terms.expiration_date, terms.underlying_title),
    )


def _differing(row: _Row, other: _Row) -> int:
    pairs = zip(_fields(row.content), _fields(other.content), strict=True)
    return sum(mine != theirs for mine, theirs in pairs)


def _rank(row: _Row, other: _Row) -> _Rank:
    mine, theirs = row.content, other.content
    beside = (
        mine.shares_owned_after != theirs.shares_owned_after,
        mine.ownership_nature.casefold() != theirs.ownership_nature.casefold(),
    )
    ratio = _ratio(mine.shares, theirs.shares) * _ratio(mine.price, theirs.price)
    return _Rank(_differing(row, other), sum(beside), ratio)


def _ratio(one: Decimal | None, other: Decimal | None) -> Decimal:
    """Return the larger figure by the smaller, so that 1 is equal."""
    if one == other:
        return Decimal(1)
    if not one or not other:
        return Decimal(10**9)
    return max(one, other) / min(one, other)


def _is_same(row: _Row, other: _Row) -> bool:
    return _differing(row, other) == 0 and not _follows(row, other)


def _may_correct(row: _Row, other: _Row) -> bool:
    """Whether the row can be the other one with one thing corrected."""
    return _differing(row, other) == 1 and not _follows(row, other) and not _says_it_adds(row)


def _is_likely(row: _Row, other: _Row) -> bool:
    """As `_may_correct`, and with two things where the amendment says that it corrects."""
    return _may_correct(row, other) or (
        _may_be_meant(row, other) and _says_it_corrects(row) and not _says_it_adds(row)
    )


def _may_be_meant(row: _Row, other: _Row) -> bool:
    """Whether the row can be the other one with two figures corrected, on the same day."""
    kind, same_kind = _fields(row.content)[:3], _fields(other.content)[:3]
    return kind == same_kind and _differing(row, other) <= 2 and not _follows(row, other)


def _is_moved(row: _Row, other: _Row) -> bool:
    """Whether the two differ in their days alone, and those lie close together."""
    mine, theirs = row.content.transaction_date, other.content.transaction_date
    return mine != theirs and bool(mine and theirs and abs(mine - theirs) <= SAME_TRADE)


def _follows(row: _Row, other: _Row) -> bool:
    """Whether the shares owned after it say that the row is a trade that came after the other."""
    mine, theirs = row.content, other.content
    if None in (mine.shares, mine.shares_owned_after, theirs.shares, theirs.shares_owned_after):
        return False
    after = (theirs.shares_owned_after or Decimal(0)) + _change(mine)
    return mine.shares_owned_after == after != after - _change(theirs)


def _change(row: Transaction) -> Decimal:
    shares = row.shares or Decimal(0)
    return shares if row.acquired_disposed == "A" else -shares


def _clear_counterpart(
    row: _Row, right: Sequence[_Row]
) -> tuple[tuple[int, int, Decimal], _Row, _Row] | None:
    ranked = sorted(
        ((_rank(row, other), other) for other in right if _is_likely(row, other)),
        key=lambda each: (each[0].differing, each[0].differing_beside, each[0].ratio),
    )
    if not ranked or (len(ranked) > 1 and not ranked[0][0].is_clearly_before(ranked[1][0])):
        return None
    rank, other = ranked[0]
    return (rank.differing, rank.differing_beside, rank.ratio), row, other


def _groups(left: Sequence[_Row], right: Sequence[_Row]) -> Iterator[tuple[list[_Row], list[_Row]]]:
    """Yield the rows that may restate the same others, with those."""
    groups: dict[frozenset[RowId], list[_Row]] = defaultdict(list)
    for row in left:
        if not _says_it_adds(row):
            meant = frozenset(
                other.id for other in right if _may_correct(row, other) or _may_be_meant(row, other)
            )
            groups[meant].append(row)
    for ids, rows in groups.items():
        if ids:
            yield rows, [other for other in right if other.id in ids]


# -- what the amendment says of itself -------------------------------------------------------------


def _says_it_adds(row: _Row) -> bool:
    return _says(row, _ADDS)


def _says_it_corrects(row: _Row) -> bool:
    return _says(row, _CORRECTS)


def _says(row: _Row, words: re.Pattern[str]) -> bool:
    """Look in the row's own notes; where they say neither, in the filing's other words."""
    own = " ".join(notes_of(row.filing.document, row.content))
    if _ADDS.search(own) or _CORRECTS.search(own):
        return words.search(own) is not None
    return words.search(_words_of(row.filing)) is not None


def _words_of(filing: ReadFiling) -> str:
    return " ".join([filing.document.remarks, *filing.document.footnotes.values()])
