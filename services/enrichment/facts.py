"""From findings to facts: short statements with ids, which a summary may cite and a reader check.

No e-mail address or phone number is among them: a model need not see one to say that it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal

from services.enrichment.findings import (
    Contact,
    Fact,
    Finding,
    InsiderTrade,
    InsiderTrades,
    SourceName,
    WebFindings,
)

MOST_TRADES = 12
EXCERPT = 300


def facts_of(findings: Mapping[SourceName, Finding]) -> tuple[Fact, ...]:
    """Return the facts in the order of the sources, numbered by source."""
    facts: list[Fact] = []
    for source in SourceName:
        finding = findings.get(source)
        statements = list(_statements(finding)) if finding else []
        facts += [
            Fact(f"{source.value}-{number}", text, url)
            for number, (text, url) in enumerate(statements, 1)
        ]
    return tuple(facts)


def _statements(finding: Finding) -> Iterator[tuple[str, str]]:
    if isinstance(finding, Contact):
        yield from _of_contact(finding)
    elif isinstance(finding, WebFindings):
        for page in finding.pages:
            when = f" ({page.published_on})" if page.published_on else ""
            yield f"{page.title}{when}: {page.excerpt[:EXCERPT]}", page.url
    elif isinstance(finding, InsiderTrades):
        yield from _of_trades(finding)


def _of_contact(contact: Contact) -> Iterator[tuple[str, str]]:
    url = contact.linkedin_url or contact.provenance.url
    if contact.headline or contact.company:
        yield f"{contact.full_name}: {contact.headline or contact.company}", url
    known = [
        name
        for name, values in (
            ("a work e-mail", contact.work_emails),
            ("a personal e-mail", contact.personal_emails),
            ("a phone number", contact.phones),
        )
        if values
    ]
    if known:
        yield f"Known to reach {contact.full_name}: {', '.join(known)}", url


def _of_trades(found: InsiderTrades) -> Iterator[tuple[str, str]]:
    for code, verb in (("P", "bought"), ("S", "sold")):
        market = [t for t in found.trades if t.is_market_trade and t.transaction_code == code]
        if market:
            yield _total(found, market, verb), market[0].filing_url
    for trade in found.trades[:MOST_TRADES]:
        yield _trade(trade, found.issuer_name), trade.filing_url


def _total(found: InsiderTrades, market: list[InsiderTrade], verb: str) -> str:
    shares = sum((trade.shares or Decimal(0) for trade in market), Decimal(0))
    days = sorted(trade.transaction_date for trade in market if trade.transaction_date)
    when = _when(days[0], days[-1]) if days else ""
    return (
        f"{market[0].owner_name} {verb} {shares:f} shares of {found.issuer_name} on the market"
        f"{when}, in {len(market)} reported transactions"
    )


def _when(first: date, last: date) -> str:
    return f" on {first}" if first == last else f" between {first} and {last}"


def _trade(trade: InsiderTrade, issuer: str) -> str:
    direction = {"A": "acquired", "D": "disposed of"}.get(trade.acquired_disposed, "reported")
    shares = f"{trade.shares:f} shares" if trade.shares is not None else "shares (see footnote)"
    price = f" at ${trade.price_per_share:f} each" if trade.price_per_share else ""
    plan = ", under a Rule 10b5-1 plan" if trade.under_10b5_1_plan else ""
    return (
        f"{trade.transaction_date or 'Undated'}: {trade.owner_name} ({trade.owner_role}) "
        f"{direction} {shares} of {trade.security_title}{price}, {trade.transaction_kind} "
        f"of {issuer}{plan}"
    )
