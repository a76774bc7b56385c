"""What the demo shows: the log's newest entries, runs in progress, and the day's usage by user."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.enrichment.v1 import prospect_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2 as metrics_pb
from rich.table import Table
from rich.text import Text

from chassis.clock import to_datetime, utc_now
from services.cli.enrich.tables import STYLES, cost_micros
from services.cli.terminal.dollars import dollars
from services.cli.usage.tables import bars, counted_table, values
from services.enrichment.sources.catalogue import SourceName

COUNTERS_OF_A_DAY = (
    "total_logins", "searches_executed", "profiles_viewed", "profiles_enriched", "csv_exports",
    "lists_created", "total_activities",
)  # fmt: skip


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


def usage_by_user(rows: Iterable[metrics_pb.DailyUsage], names: Mapping[str, str]) -> Table:
    """The day by user."""
    table = counted_table(["date", "user"], COUNTERS_OF_A_DAY)
    for row in rows:
        user = names.get(row.user_id, row.user_id)
        table.add_row(row.date, user, *values(row, COUNTERS_OF_A_DAY))
    return table


def usage_chart(rows: Iterable[metrics_pb.DailyUsage], names: Mapping[str, str]) -> Text:
    """A bar a user, as long as what they did; enriched profiles stand behind it."""
    return bars(
        "activities by user",
        [
            (
                names.get(row.user_id, row.user_id),
                row.total_activities,
                f", {row.profiles_enriched} enriched",
            )
            for row in rows
        ],
    )
