"""A row of an ownership filing as a finding, and what may be added up of such rows; pure.

Shares of two securities are never added: a company's classes of stock and its depositary shares are
worth different amounts. Nor are those that the person owns and those that others hold for the
person, and no row of which it is in doubt whether it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

NON_DERIVATIVE = "non_derivative"
PURCHASE, SALE = "P", "S"


@dataclass(frozen=True, slots=True)
class FieldFootnote:
    """A footnote and the field of the row that refers to it, such as `price_per_share`."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class InsiderTrade:
    """One row of an ownership filing; `accession_number`, `table` and `row` identify it.

    `shares`, `price_per_share` and `shares_owned_after` are None where the filing gives only a
    footnote: absent is not zero. Direction is in `acquired_disposed` (A or D), never in a sign.
    `ownership` is D (direct) or I (indirect, as `ownership_nature` says). `in_doubt` says why it
    cannot be known whether the row stands as it is; empty where it does. `is_plan_box_checked` is
    of the filing: the box says that a transaction was under a plan, not that this one was.
    """

    accession_number: str
    table: str
    row: int
    form: str
    filing_url: str
    owner_name: str
    owner_cik: int
    owner_role: str
    security_title: str
    transaction_date: date | None = field(default=None, kw_only=True)
    transaction_code: str
    transaction_kind: str
    is_market_trade: bool
    acquired_disposed: str
    shares: Decimal | None = field(default=None, kw_only=True)
    price_per_share: Decimal | None = field(default=None, kw_only=True)
    shares_owned_after: Decimal | None = field(default=None, kw_only=True)
    under_10b5_1_plan: bool
    footnotes: tuple[str, ...]
    fetched_at: datetime | None = None
    superseded_by: str = ""
    ownership: str = ""
    ownership_nature: str = ""
    in_doubt: str = ""
    is_plan_box_checked: bool = False
    footnotes_by_field: tuple[FieldFootnote, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnerMatch:
    """Why a reporting owner is taken for the person; `confidence` is from 0 to 1."""

    owner_cik: int
    owner_name: str
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class TradeTotal:
    """What was bought, or sold, on the market of one security, held in one way.

    `is_complete` is False where a row gives its shares only in a footnote: then there were more.
    """

    rows: tuple[InsiderTrade, ...]

    @property
    def owner_name(self) -> str:
        """The reporting owner as filed."""
        return self.rows[0].owner_name

    @property
    def transaction_code(self) -> str:
        """P for bought, S for sold."""
        return self.rows[0].transaction_code

    @property
    def security_title(self) -> str:
        """The security as filed, its class included."""
        return self.rows[0].security_title

    @property
    def ownership(self) -> str:
        """D for direct, I for indirect; empty where the filings do not say."""
        return self.rows[0].ownership

    @property
    def shares(self) -> Decimal:
        """How many shares the rows give."""
        return sum((row.shares for row in self.rows if row.shares is not None), Decimal(0))

    @property
    def is_complete(self) -> bool:
        """Whether every row gives its shares."""
        return all(row.shares is not None for row in self.rows)

    @property
    def first(self) -> date | None:
        """The day of the earliest trade."""
        return min(self._days(), default=None)

    @property
    def last(self) -> date | None:
        """The day of the latest trade."""
        return max(self._days(), default=None)

    def _days(self) -> Iterable[date]:
        return (row.transaction_date for row in self.rows if row.transaction_date)


def market_totals(trades: Iterable[InsiderTrade]) -> list[TradeTotal]:
    """Return a total for each security and way of holding, purchases first."""
    groups: dict[tuple[str, ...], list[InsiderTrade]] = {}
    for trade in trades:
        if trade.is_market_trade and trade.table == NON_DERIVATIVE and not trade.in_doubt:
            key = (trade.transaction_code, security(trade.security_title), trade.ownership)
            groups.setdefault(key, []).append(trade)
    by_code = sorted(groups.items(), key=lambda group: group[0][0])
    return [TradeTotal(tuple(rows)) for _, rows in by_code]


def security(title: str) -> str:
    """Return a security's title without regard to case and spacing; its class is part of it."""
    return " ".join(title.casefold().split()).rstrip(".")
