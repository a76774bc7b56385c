"""Tables of runs, steps, calls and sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from prospect.enrichment.v1 import operations_pb2, prospect_pb2, runs_pb2
from rich.console import Group
from rich.table import Table
from rich.text import Text

from chassis.clock import to_datetime, utc_now
from services.cli.terminal.dollars import dollars
from services.cli.terminal.message_json import enum_name
from services.cli.terminal.screen import shown

STATUS, SOURCE_STATUS = prospect_pb2.EnrichmentStatus, prospect_pb2.SourceStatus
ATTEMPT_STATUS, SOURCE_STATE = runs_pb2.AttemptStatus, operations_pb2.SourceState
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


def run_live(run: prospect_pb2.Run | None) -> Group:
    """Return a run with its steps."""
    return Group() if run is None else Group(_headline(run), steps(run.steps))


def cost_micros(run: prospect_pb2.Run | None) -> int:
    """Return what a run has spent, as its steps say."""
    return sum(step.cost_micros for step in run.steps) if run else 0


def run_status(run: prospect_pb2.Run) -> str:
    """Return a run's status as people write it."""
    return enum_name(STATUS.DESCRIPTOR, run.status)


def _headline(run: prospect_pb2.Run) -> Text:
    status = run_status(run)
    ids = (f"prospect {run.prospect_id}, run {run.run_id}\n", "dim")
    text = Text.assemble(ids, (status, STYLES.get(status, "")))
    if run.missing:
        text.append(f" without {', '.join(run.missing)}")
    text.append(f", {dollars(cost_micros(run))}")
    if run.budget_micros:
        text.append(f" of {dollars(run.budget_micros)}")
    return text


def steps(rows: Iterable[prospect_pb2.Step]) -> Table:
    """Return the steps of a run, one source a row."""
    table = Table("source", "status")
    for heading in ("attempts", "time", "cost"):
        table.add_column(heading, justify="right")
    table.add_column("reason")
    for step in rows:
        table.add_row(
            step.source,
            _status(enum_name(SOURCE_STATUS.DESCRIPTOR, step.status)),
            _attempts(step),
            _elapsed(step),
            dollars(step.cost_micros) if step.cost_micros else "",
            shown(_reason(step)),
        )
    return table


def _status(name: str) -> Text:
    return Text(name, style=STYLES.get(name, ""))


def _attempts(step: prospect_pb2.Step) -> str:
    uncertain = f" ({step.uncertain_attempts} uncertain)" if step.uncertain_attempts else ""
    return f"{step.attempts}{uncertain}" if step.attempts else ""


def _elapsed(step: prospect_pb2.Step) -> str:
    if not step.HasField("started_at"):
        return ""
    end = to_datetime(step.ended_at) if step.HasField("ended_at") else utc_now()
    return f"{(end - to_datetime(step.started_at)).total_seconds():.1f} s"


def _reason(step: prospect_pb2.Step) -> str:
    parts = ["reused, still fresh" if step.is_reused else "", step.reason]
    if step.HasField("next_attempt_at"):
        parts.append(f"again at {to_datetime(step.next_attempt_at):%H:%M:%S}")
    if step.lookup and not step.ended_at.seconds:
        parts.append(f"by {step.lookup}")
    return "; ".join(each for each in parts if each)


def attempts(rows: Iterable[runs_pb2.Attempt]) -> Table:
    """Return the timeline: every call, with its waits and its duration in milliseconds."""
    table = Table("source", "#", "started", title="calls (times in ms)", title_justify="left")
    for heading in ("queue", "breaker", "limiter", "took"):
        table.add_column(heading, justify="right")
    table.add_column("cost", justify="right")
    for heading in ("status", "lookup", "error", "trace"):
        table.add_column(heading)
    for each in rows:
        waits = (each.queue_wait_ms, each.breaker_wait_ms, each.limiter_wait_ms)
        table.add_row(
            each.source,
            str(each.attempt),
            f"{to_datetime(each.started_at):%H:%M:%S.%f}"[:-3],
            *(f"{wait:,}" for wait in waits),
            _took(each),
            dollars(each.cost_micros),
            _status(enum_name(ATTEMPT_STATUS.DESCRIPTOR, each.status)),
            each.lookup,
            shown(": ".join(part for part in (each.error_class, each.reason) if part)),
            shown(each.trace_id),
        )
    return table


def _took(attempt: runs_pb2.Attempt) -> str:
    if not attempt.HasField("ended_at"):
        return ""
    took = to_datetime(attempt.ended_at) - to_datetime(attempt.started_at)
    return f"{took.total_seconds() * 1000:,.0f}"


def runs(rows: Iterable[prospect_pb2.Run]) -> Table:
    """Return runs, one a row."""
    table = Table("created (UTC)", "run", "status")
    for heading in ("took", "cost"):
        table.add_column(heading, justify="right")
    for heading in ("missing", "prospect"):
        table.add_column(heading)
    for run in rows:
        status = run_status(run)
        table.add_row(
            moment(run.created_at),
            run.run_id,
            _status(status),
            _run_took(run),
            dollars(run.cost_micros),
            ", ".join(run.missing),
            run.prospect_id,
        )
    return table


def _run_took(run: prospect_pb2.Run) -> str:
    if not run.HasField("ended_at"):
        return ""
    took = to_datetime(run.ended_at) - to_datetime(run.created_at)
    return f"{took.total_seconds():,.1f} s"


def prospects(rows: Iterable[prospect_pb2.Prospect]) -> Table:
    """Return prospects, one a row, with the status of each source."""
    table = Table("prospect", "name", "company", "status", "enriched (UTC)", "sources")
    for each in rows:
        table.add_row(
            each.prospect_id,
            shown(each.name),
            shown(each.company),
            _status(enum_name(STATUS.DESCRIPTOR, each.enrichment_status)),
            moment(each.last_enriched_at) if each.HasField("last_enriched_at") else "never",
            _step_list(each.enrichment_source_status),
        )
    return table


def _step_list(rows: Sequence[prospect_pb2.Step]) -> Text:
    text = Text()
    for step in rows:
        status = enum_name(SOURCE_STATUS.DESCRIPTOR, step.status)
        text.append(f"{step.source} ").append(f"{status}  ", style=STYLES.get(status, ""))
    return text


def sources(rows: Iterable[operations_pb2.Source]) -> Group:
    """Return each source's health, and what the tenant has had of it today: 80 columns wide."""
    found = list(rows)
    return Group(_health(found), _today(found))


def _health(rows: Iterable[operations_pb2.Source]) -> Table:
    table = Table("source", "state")
    for heading in ("failures", "rate/s", "fresh"):
        table.add_column(heading, justify="right")
    table.add_column("why")
    for each in rows:
        until = f"until {moment(each.until)}" if each.HasField("until") else ""
        table.add_row(
            each.source + ("" if each.is_enabled else " (disabled)"),
            _status(enum_name(SOURCE_STATE.DESCRIPTOR, each.state)),
            f"{each.failures:,}",
            f"{each.calls_per_second:g}" if each.calls_per_second else "no limit",
            span(each.fresh_for_seconds),
            shown("; ".join(part for part in (until, each.reason) if part)),
        )
    return table


def _today(rows: Iterable[operations_pb2.Source]) -> Table:
    table = Table("today")
    for heading in ("calls", "failed", "uncertain", "median", "spent", "budget"):
        table.add_column(heading, justify="right")
    for each in rows:
        counts = (each.calls_today, each.failed_today, each.uncertain_today)
        table.add_row(
            each.source,
            *(f"{count:,}" for count in counts),
            f"{each.median_ms:,.0f} ms" if each.calls_today else "",
            dollars(each.spent_today_micros),
            dollars(each.budget_micros) if each.budget_micros else "none",
        )
    return table


def span(seconds: int) -> str:
    """Return a span of time in its largest whole unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def moment(value: Timestamp) -> str:
    """Return a time to the second."""
    return f"{to_datetime(value):%Y-%m-%d %H:%M:%S}"
