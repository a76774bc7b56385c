"""What the sources bring back: frozen values, named as in the contracts, stored as JSON.

The field names equal those of the messages in `prospect/enrichment/v1/prospect.proto`, so that
`to_json` and protobuf's `ParseDict` are the only two steps from a source to the wire.
Decimals travel as strings: a share price is never a float.

A finding says whom it names (`people`, for the suppression list), and what a summary may cite of it
(`statements`). No e-mail address or phone number is among the statements: a model need not see one
to say that it is known. What others wrote (a page, a headline) is left out where it is caught
giving orders to a model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol

from services.enrichment.sources.insider_trade import (
    FieldFootnote,
    InsiderTrade,
    OwnerMatch,
    TradeTotal,
)
from services.enrichment.sources.prompt_injection import gives_orders
from services.enrichment.sources.trade_sentences import coverage_sentence, day, trade_sentences

__all__ = [
    "MODEL",
    "TEMPLATE",
    "Contact",
    "Fact",
    "FieldFootnote",
    "Finding",
    "FoundPerson",
    "InsiderTrade",
    "InsiderTrades",
    "OwnerMatch",
    "Person",
    "Provenance",
    "Sentence",
    "Statement",
    "Summary",
    "TradeTotal",
    "WebFindings",
    "WebPage",
    "to_json",
]

MAX_PLAIN_TRADES = 4
EXCERPT = 300


@dataclass(frozen=True, slots=True)
class Person:
    """Who a source is asked about."""

    name: str
    company: str
    title: str = ""
    email: str = ""
    linkedin_url: str = ""
    is_public_company: bool = False
    company_cik: int | None = None


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """What identifies a person whom a finding is about."""

    emails: tuple[str, ...]
    linkedin_url: str
    name: str
    company: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What a summary may cite of a finding, and where it can be checked.

    `is_data` says that the text is a whole sentence of ours, made from fields: it is told as it
    stands, and no model writes another. `plain` is what the plain summary says of it: our own
    words, never a text from outside; empty where it says nothing of it. `is_coverage` says that it
    tells how far was searched and not what was found, so that it makes no other evidence.
    """

    text: str
    url: str
    plain: str = ""
    is_data: bool = False
    is_coverage: bool = False


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where each field of a finding comes from, so that a reader can check it.

    `source` is a SourceName; one that only a newer version knows can be read all the same.
    """

    source: str
    url: str
    request_id: str
    fetched_at: datetime


class Finding(Protocol):
    """What a source brings back: a frozen dataclass with the fields of its message."""

    @property
    def provenance(self) -> Provenance:
        """Where it comes from."""

    def people(self) -> tuple[FoundPerson, ...]:
        """Return whom it names, for the suppression list; nobody where it proves no identity."""

    def statements(self) -> Iterator[Statement]:
        """Yield what a summary may cite of it."""


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

    def people(self) -> tuple[FoundPerson, ...]:
        """Return whom it names."""
        emails = (*self.work_emails, *self.personal_emails)
        return (FoundPerson(emails, self.linkedin_url, self.full_name, self.company),)

    def statements(self) -> Iterator[Statement]:
        """Yield the person's position, and by what means the person can be reached."""
        url = self.linkedin_url or self.provenance.url
        position = self.headline or self.company
        if position and not gives_orders(f"{self.full_name}\n{position}"):
            yield Statement(f"{self.full_name}: {position}", url)
        means = (
            ("a work e-mail", self.work_emails),
            ("a personal e-mail", self.personal_emails),
            ("a phone number", self.phones),
        )
        known = [name for name, values in means if values]
        if known and not gives_orders(self.full_name):
            text = f"{_listed(known)} known to reach {self.full_name}."
            yield Statement(text, url, plain=text, is_data=True)


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

    def people(self) -> tuple[FoundPerson, ...]:
        """Return nobody: a page is no proof of whom it names."""
        return ()

    def statements(self) -> Iterator[Statement]:
        """Yield each page's title and excerpt; of the newest the plain summary says the day."""
        pages = [page for page in self.pages if not _gives_orders(page)]
        dated = [page for page in pages if page.published_on]
        newest = max(dated, key=lambda page: page.published_on or date.min, default=None)
        for page in pages:
            plain = ""
            if page is newest and page.published_on:
                plain = f"The newest page that was found on the web is of {day(page.published_on)}."
            elif not newest and page is pages[0]:
                plain = "A page was found on the web."
            when = f" ({page.published_on})" if page.published_on else ""
            yield Statement(f"{page.title}{when}: {page.excerpt[:EXCERPT]}", page.url, plain)


@dataclass(frozen=True, slots=True)
class InsiderTrades:
    """The person's own trades in the company's securities, newest first.

    `superseded` keeps the rows that an amendment restated, each with the accession number of the
    amendment in `superseded_by`: they are history and count in no total. All filings about the
    company since `read_back_to` were read, but for `filings_unread`, which could not be.
    """

    issuer_cik: int
    issuer_name: str
    filings_read: int
    trades: tuple[InsiderTrade, ...]
    provenance: Provenance
    superseded: tuple[InsiderTrade, ...] = ()
    owner_matches: tuple[OwnerMatch, ...] = ()
    read_back_to: date | None = None
    filings_unread: int = 0

    def people(self) -> tuple[FoundPerson, ...]:
        """Return nobody: a filing names no address, and its owner was matched by name."""
        return ()

    def statements(self) -> Iterator[Statement]:
        """Yield a sentence for each thing that the rows tell, and how far back they were read."""
        told = trade_sentences(self.trades, self.issuer_name)
        for number, (text, url) in enumerate(told):
            yield Statement(
                text, url, plain=text if number < MAX_PLAIN_TRADES else "", is_data=True
            )
        read = (self.filings_read, self.read_back_to, self.filings_unread)
        if coverage := coverage_sentence(self.issuer_name, *read):
            url = self.provenance.url
            yield Statement(coverage, url, plain=coverage, is_data=True, is_coverage=True)


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
    """One sentence of the summary and the ids of the facts it rests on.

    `quote` is the span of the fact that a sentence of a model rests on; empty where we told it.
    """

    text: str
    fact_ids: tuple[str, ...]
    quote: str = ""


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

    def people(self) -> tuple[FoundPerson, ...]:
        """Return nobody: it names whom its facts name."""
        return ()

    def statements(self) -> Iterator[Statement]:
        """Yield nothing: a summary is no evidence for another."""
        yield from ()


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


def _listed(means: Sequence[str]) -> str:
    """Write a list with its verb: a work e-mail and a phone number are."""
    *first, last = means
    text = f"{', '.join(first)} and {last} are" if first else f"{last} is"
    return text[:1].upper() + text[1:]


def _gives_orders(page: WebPage) -> bool:
    return gives_orders(f"{page.title}\n{page.author}\n{page.excerpt}")
