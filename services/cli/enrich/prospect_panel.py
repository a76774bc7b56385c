"""A prospect on screen: contact, web pages, trades, and the summary with what it cites."""

from __future__ import annotations

from prospect.enrichment.v1 import prospect_pb2 as pb
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from services.cli.terminal.screen import shown


def prospect_panel(found: pb.Prospect) -> Panel:
    """A finished prospect: contact, pages, trades, and the summary with its citations."""
    parts: list[RenderableType] = []
    if found.HasField("contact_data"):
        parts.append(_contact(found.contact_data))
    if found.HasField("web_data"):
        parts.append(_pages(found.web_data))
    if found.HasField("insider_data"):
        parts.append(_trades(found.insider_data))
    if found.HasField("ai_summary"):
        parts.append(_summary(found.ai_summary))
    who = [each for each in (found.title, found.company) if each]
    title = Text.assemble((shown(found.name).plain, "bold"), *(f", {shown(w).plain}" for w in who))
    return Panel(Group(*parts) if parts else Text("nothing was found"), title=title)


def _contact(contact: pb.Contact) -> Table:
    table = Table("contact", "", show_header=True)
    for label, values in (
        ("work e-mail", contact.work_emails),
        ("personal e-mail", contact.personal_emails),
        ("phone", contact.phones),
        ("LinkedIn", [contact.linkedin_url]),
    ):
        if any(values):
            table.add_row(label, shown(", ".join(values)))
    return table


def _pages(web: pb.WebFindings) -> Table:
    table = Table("web", "published", "address")
    for page in web.pages[:3]:
        table.add_row(*(shown(each) for each in (page.title, page.published_on, page.url)))
    return table


def _trades(insider: pb.InsiderTrades) -> Table:
    filings = f"from {insider.filings_read} filing(s)"
    if insider.read_back_to:
        filings += f" since {insider.read_back_to}"
    title = shown(f"insider trades in {insider.issuer_name}, {filings}")
    owners = "; ".join(
        f"{each.owner_name} is taken for the person ({each.confidence:.2f}: {each.reason})"
        for each in insider.owner_matches
    )
    table = Table("date", "what", "security", "A/D", title=title, title_justify="left")
    table.caption, table.caption_justify = shown(owners) if owners else None, "left"
    for column in ("shares", "price $", "owned after"):
        table.add_column(column, justify="right")
    for trade in insider.trades:
        table.add_row(
            trade.transaction_date,
            shown(f"{trade.transaction_kind} ({trade.transaction_code}){_planned(trade)}"),
            shown(trade.security_title),
            shown(trade.acquired_disposed),
            trade.shares or "see footnote",
            trade.price_per_share or "see footnote",
            trade.shares_owned_after,
        )
    return table


def _planned(trade: pb.InsiderTrade) -> str:
    planned = ", planned under 10b5-1" if trade.under_10b5_1_plan else ""
    return f"{planned}; in doubt: {trade.in_doubt}" if trade.in_doubt else planned


def _summary(summary: pb.Summary) -> Group:
    text = Text()
    cited: list[str] = []
    for sentence in summary.sentences:
        text.append_text(shown(sentence.text))
        text.append(f" [{', '.join(sentence.fact_ids)}] ", style="cyan")
        cited += sentence.fact_ids
    by = f"model: {summary.model}" if summary.kind != "template" else "by template, not by a model"
    facts = Table("fact", "what it says", "where", title=shown(f"cited ({by})"))
    for fact in summary.facts:
        if fact.id in cited:
            facts.add_row(fact.id, shown(fact.text), shown(fact.url))
    return Group(Text("\nSummary", style="bold"), text, facts)
