"""What the sources bring back: frozen values, named as in the contracts, stored as JSON.

The field names equal those of the messages in `prospect/enrichment/v1/prospect.proto`, so that
`to_json` and protobuf's `ParseDict` are the only two steps from a source to the wire.
Decimals travel as strings: a share price is never a float.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from pydantic import TypeAdapter

from services.enrichment.sources.catalogue import SourceName


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a source is asked about."""

    name: str
    company: str
    title: str = ""
    email: str = ""
    linkedin_url: str = ""
    is_public_company: bool = False
    company_cik: int | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where each field of a finding comes from, so that a reader can check it."""

    source: SourceName
    url: str
    request_id: str
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach the person; `emails` are split as the source splits them."""

    full_name: str
    headline: str
    company: str
    linkedin_url: str
    work_emails: tuple[str, ...]
    personal_emails: tuple[str, ...]
    phones: tuple[str, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class WebPage:
    """One page about the person or the company; `excerpt` is bounded plain text."""

    title: str
    url: str
    published_on: date | None = field(default=None, kw_only=True)
    author: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class WebFindings:
    """The pages that a web search brought, best first."""

    pages: tuple[WebPage, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class InsiderTrade:
    """One row of an ownership filing; `accession_number`, `table` and `row` identify it.

    `shares`, `price_per_share` and `shares_owned_after` are None where the filing gives only a
    footnote: absent is not zero. Direction is in `acquired_disposed` (A or D), never in a sign.
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


@dataclass(frozen=True, slots=True)
class OwnerMatch:
    """Why a reporting owner is taken for the person; `confidence` is from 0 to 1."""

    owner_cik: int
    owner_name: str
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class InsiderTrades:
    """The person's own trades in the company's securities, newest first.

    `superseded` keeps the rows that an amendment restated, each with the accession number of the
    amendment in `superseded_by`: they are history and count in no total.
    """

    issuer_cik: int
    issuer_name: str
    filings_read: int
    trades: tuple[InsiderTrade, ...]
    provenance: Provenance
    superseded: tuple[InsiderTrade, ...] = ()
    owner_matches: tuple[OwnerMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """One checkable statement that the summary may cite by its id, such as `contactout-1`."""

    id: str
    text: str
    url: str
    provenance: Provenance | None = None


MODEL = "model"
TEMPLATE = "template"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the summary and the ids of the facts it rests on."""

    text: str
    fact_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """A short text in which every sentence cites facts.

    `kind` is MODEL where a language model wrote it, TEMPLATE where it was put together from the
    facts because no model's text passed the checks.
    """

    sentences: tuple[Sentence, ...]
    facts: tuple[Fact, ...]
    model: str
    provenance: Provenance
    kind: str = MODEL


Finding = Contact | WebFindings | InsiderTrades | Summary


_ADAPTERS: dict[SourceName, TypeAdapter[Any]] = {
    SourceName.CONTACTOUT: TypeAdapter(Contact),
    SourceName.EXA: TypeAdapter(WebFindings),
    SourceName.SEC: TypeAdapter(InsiderTrades),
    SourceName.CLAUDE: TypeAdapter(Summary),
}


def to_json(value: Any) -> Any:
    """Turn a finding into what `json.dumps` and protobuf's `ParseDict` take.

    A field that is None is left out, so every field that may be None has that as its default.
    """
    match value:
        case None | bool() | int() | float() | str() if not isinstance(value, Enum):
            return value
        case Enum():
            return value.value
        case Decimal():
            return format(value, "f")
        case datetime() | date():
            return value.isoformat()
        case tuple() | list():
            return [to_json(item) for item in value]
    fields = ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
    return {name: to_json(item) for name, item in fields if item is not None}


def from_json(source: SourceName, value: Any) -> Finding:
    """Turn what `to_json` made back into the source's finding."""
    finding: Finding = _ADAPTERS[source].validate_python(value)
    return finding
