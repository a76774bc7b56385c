"""From findings to facts: short statements with ids, which a summary may cite and a reader check.

No e-mail address or phone number is among them: a model need not see one to say that it is known.
What others wrote (a page, a headline) is left out where it is caught giving orders to a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import (
    Contact,
    Fact,
    Finding,
    InsiderTrade,
    InsiderTrades,
    Provenance,
    WebFindings,
    WebPage,
)
from services.enrichment.sources.prompt_injection import gives_orders

MOST_TRADES = 12
NON_DERIVATIVE = "non_derivative"
EXCERPT = 300
Statement = tuple[str, str]


def facts_of(findings: Mapping[SourceName, Finding]) -> tuple[Fact, ...]:
    """Return the facts in the order of the sources, numbered by source."""
    facts: list[Fact] = []
    for source in SourceName:
        finding = findings.get(source)
        statements = list(_statements(finding)) if finding else []
        facts += [
            Fact(f"{source.value}-{number}", text, url, provenance)
            for number, (text, url, provenance) in enumerate(statements, 1)
        ]
    return tuple(facts)


def _statements(finding: Finding) -> Iterator[tuple[str, str, Provenance]]:
    if isinstance(finding, Contact):
        made = _of_contact(finding)
    elif isinstance(finding, WebFindings):
        made = _of_pages(finding)
    elif isinstance(finding, InsiderTrades):
        made = _of_trades(finding)
    else:
        return
    for text, url in made:
        yield text, url, finding.provenance


def _of_contact(contact: Contact) -> Iterator[Statement]:
    url = contact.linkedin_url or contact.provenance.url
    position = contact.headline or contact.company
    if position and not gives_orders(f"{contact.full_name}\n{position}"):
        yield f"{contact.full_name}: {position}", url
    known = [
        name
        for name, values in (
            ("a work e-mail", contact.work_emails),
            ("a personal e-mail", contact.personal_emails),
            ("a phone number", contact.phones),
        )
        if values
    ]
    if known and not gives_orders(contact.full_name):
        yield f"Known to reach {contact.full_name}: {', '.join(known)}", url


def _of_pages(found: WebFindings) -> Iterator[Statement]:
    for page in found.pages:
        if not gives_orders(f"{page.title}\n{page.author}\n{page.excerpt}"):
            yield _page(page), page.url


def _page(page: WebPage) -> str:
    when = f" ({page.published_on})" if page.published_on else ""
    return f"{page.title}{when}: {page.excerpt[:EXCERPT]}"


def _of_trades(found: InsiderTrades) -> Iterator[Statement]:
    for code, verb in (("P", "bought"), ("S", "sold")):
        market = [t for t in found.trades if t.is_market_trade and t.transaction_code == code]
        market = [trade for trade in market if trade.table == NON_DERIVATIVE]
        if market:
            yield _total(found, market, verb), market[0].filing_url
    for trade in found.trades[:MOST_TRADES]:
        yield _trade(trade, found.issuer_name), trade.filing_url


def _total(found: InsiderTrades, market: list[InsiderTrade], verb: str) -> str:
    """Add up the shares; a row that gives them only in a footnote is absent, not zero."""
    given = [trade.shares for trade in market if trade.shares is not None]
    shares = f"{'' if len(given) == len(market) else 'at least '}{sum(given, Decimal(0)):f} shares"
    days = sorted(trade.transaction_date for trade in market if trade.transaction_date)
    when = _when(days[0], days[-1]) if days else ""
    return (
        f"{market[0].owner_name} {verb} {shares} of {found.issuer_name} on the market"
        f"{when}, in {len(market)} reported transactions"
    )


def _when(first: date, last: date) -> str:
    return f" on {first}" if first == last else f" between {first} and {last}"


def _trade(trade: InsiderTrade, issuer: str) -> str:
    direction = {"A": "acquired", "D": "disposed of"}.get(trade.acquired_disposed, "reported")
    shares = f"{trade.shares:f} shares" if trade.shares is not None else "shares (see footnote)"
    price = f" at ${trade.price_per_share:f} each" if trade.price_per_share is not None else ""
    plan = ", under a Rule 10b5-1 plan" if trade.under_10b5_1_plan else ""
    return (
        f"{trade.transaction_date or 'Undated'}: {trade.owner_name} ({trade.owner_role}) "
        f"{direction} {shares} of {trade.security_title}{price}, {trade.transaction_kind} "
        f"of {issuer}{plan}"
    )
