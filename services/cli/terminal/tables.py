"""How things look in a terminal: tables, progress and bars; no call is made here."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.enrichment.v1 import prospect_pb2 as pb
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from chassis.clock import to_datetime, utc_now
from services.cli.terminal.dollars import dollars
from services.enrichment.sources.catalogue import SourceName

STYLES = {
    "complete": "green",
    "in_progress": "cyan",
    "pending": "dim",
    "skipped": "dim",
    "not_found": "yellow",
    "circuit_open": "magenta",
    "failed": "red",
    "cancelled": "red",
    "suppressed": "yellow",
    "budget_denied": "yellow",
    "uncertain": "yellow",
    "parked": "magenta",
    "paused": "magenta",
    "open": "red",
    "half_open": "magenta",
    "closed": "green",
}


def shown(text: str) -> Text:
    """Return text as it is shown: what others wrote must not steer a reader's terminal."""
    return Text(
        "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    )


def activities(entries: Iterable[activity_pb.Activity], names: Mapping[str, str]) -> Table:
    """The newest entries of the log."""
    table = Table("when (UTC)", "user", "action", "metadata", title="newest first")
    for each in entries:
        action = activity_pb.ActionType.Name(each.action_type).removeprefix("ACTION_TYPE_")
        when = f"{to_datetime(each.created_at):%H:%M:%S}"
        user = names.get(each.user_id, each.user_id)
        table.add_row(when, user, action.lower(), each.metadata_json)
    return table


def progress(
    labels: Mapping[uuid.UUID, tuple[str, str]], runs: Mapping[uuid.UUID, pb.Run]
) -> Table:
    """One row a prospect, one column a source, with outcome and elapsed time."""
    table = Table("prospect", "asked by", *SourceName, "run")
    table.add_column("cost", justify="right")
    for prospect_id, (name, asked_by) in labels.items():
        run = runs.get(prospect_id)
        steps = {step.source: step for step in run.steps} if run else {}
        cells = [_step_cell(steps.get(source)) for source in SourceName]
        table.add_row(name, asked_by, *cells, _run_cell(run), dollars(cost_micros(run)))
    return table


def cost_micros(run: pb.Run | None) -> int:
    """Return what a run has spent, as its steps say."""
    return sum(step.cost_micros for step in run.steps) if run else 0


def _step_cell(step: pb.Step | None) -> Text:
    if step is None:
        return Text("…", style="dim")
    status = pb.SourceStatus.Name(step.status).removeprefix("SOURCE_STATUS_").lower()
    elapsed = _elapsed(step)
    return Text(f"{status} {elapsed}".strip(), style=STYLES.get(status, ""))


def _elapsed(step: pb.Step) -> str:
    if not step.HasField("started_at"):
        return ""
    end = to_datetime(step.ended_at) if step.HasField("ended_at") else utc_now()
    return f"{(end - to_datetime(step.started_at)).total_seconds():.1f}s"


def _run_cell(run: pb.Run | None) -> Text:
    if run is None:
        return Text("…", style="dim")
    status = pb.EnrichmentStatus.Name(run.status).removeprefix("ENRICHMENT_STATUS_").lower()
    missing = f" (without {', '.join(run.missing)})" if run.missing else ""
    return Text(status + missing, style=STYLES.get(status, ""))


def prospect(found: pb.Prospect) -> Panel:
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
            f"{trade.transaction_kind} ({trade.transaction_code}){_planned(trade)}",
            shown(trade.security_title),
            trade.acquired_disposed,
            trade.shares or "see footnote",
            trade.price_per_share or "see footnote",
            trade.shares_owned_after,
        )
    return table


def _planned(trade: pb.InsiderTrade) -> str:
    return ", planned under 10b5-1" if trade.under_10b5_1_plan else ""


def _summary(summary: pb.Summary) -> Group:
    text = Text()
    cited: list[str] = []
    for sentence in summary.sentences:
        text.append_text(shown(sentence.text))
        text.append(f" [{', '.join(sentence.fact_ids)}] ", style="cyan")
        cited += sentence.fact_ids
    by = f"model: {summary.model}" if summary.kind != "template" else "by template, not by a model"
    facts = Table("fact", "what it says", "where", title=f"cited ({by})")
    for fact in summary.facts:
        if fact.id in cited:
            facts.add_row(fact.id, shown(fact.text), shown(fact.url))
    return Group(Text("\nSummary", style="bold"), text, facts)


def transfer(*, counted: bool) -> Progress:
    """How far a transfer is, in what is counted or in percent; nothing where nobody looks."""
    console = Console(stderr=True)
    done = MofNCompleteColumn() if counted else TaskProgressColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
