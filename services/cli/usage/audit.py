"""`prospect usage verify|rebuild`: compare the roll-up with the log, or count it anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from rich.console import Console
from rich.table import Table

from services.cli.terminal.client import NOT_FOUND_EXIT, REFUSED_EXIT, Client
from services.cli.terminal.message_json import enum_name, print_json
from services.cli.terminal.screen import shown, transfer
from services.cli.terminal.shared_options import AUDIT_TOKEN_FILE, METRICS, calls
from services.cli.usage.options import DAY_HELP, TODAY, From, To, parse_days, utc_days

MAX_FINDINGS = 1_000

Tenant = Annotated[str, typer.Option("--tenant", help="Only this tenant's UUID; else all.")]
Thorough = Annotated[
    bool, typer.Option("--thorough", help="Compare every counter of every user, digests or not.")
]


@dataclass(slots=True)
class Outcome:
    """What a verification found, over all days."""

    day_count: int = 0
    activity_count: int = 0
    expired: list[date] = field(default_factory=list)
    findings: list[pb.UsageFinding] = field(default_factory=list)
    finding_count: int = 0

    def take(self, day: pb.VerifyUsageResponse) -> None:
        """Add a day, or a part of one; the first thousand findings are kept in full."""
        self.day_count += not day.more
        self.activity_count += day.activity_count
        self.finding_count += len(day.findings)
        self.findings += day.findings[: MAX_FINDINGS - len(self.findings)]
        if day.expired:
            self.expired.append(date.fromisoformat(day.date))

    @property
    def is_proven(self) -> bool:
        """Whether every day was compared and is equal."""
        return not self.finding_count and not self.expired


@calls(METRICS, AUDIT_TOKEN_FILE)
def verify(
    client: Client,
    start: From = None,
    end: To = TODAY,
    tenant: Tenant = "",
    thorough: Thorough = False,
) -> None:
    """Compare the roll-up with the log, UTC day by day; it changes nothing. Needs metrics:audit.

    Exit code 0 where all days are proven equal, 1 where something differs or a day has expired.

    Examples:

      prospect usage verify --from 7d

      prospect usage verify --from 2026-11-01 --to 2026-11-30 --thorough --json
    """
    first, last = utc_days(parse_days(start, end))
    request = pb.VerifyUsageRequest(
        start_date=first, end_date=last, tenant_id=tenant, thorough=thorough
    )
    outcome = Outcome()
    with client.calling(MetricsServiceStub, not_found=REFUSED_EXIT) as stub:
        for day in _days(stub, request):
            outcome.take(day)
            if client.as_json:
                print_json(day)
    if not client.as_json:
        _print(outcome)
    raise typer.Exit(0 if outcome.is_proven else NOT_FOUND_EXIT)


@calls(METRICS, AUDIT_TOKEN_FILE)
def rebuild(
    client: Client,
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant's UUID.")],
    start: Annotated[str, typer.Option("--from", help=f"First UTC day: {DAY_HELP}.")],
    end: Annotated[str, typer.Option("--to", help=f"Last UTC day, included: {DAY_HELP}.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Count a tenant's UTC days anew from the log and swap them in at once. Needs metrics:audit.

    Days that the log does not reach back to stay as they are.

    Example:

      prospect usage rebuild --tenant 0192f0c1-0000-7000-8000-000000000001 --from 7d --to today
    """
    first, last = utc_days(parse_days(start, end))
    request = pb.RebuildUsageRequest(tenant_id=tenant, start_date=first, end_date=last)
    if not yes:
        asked = f"Count {first} to {last} of tenant {tenant} anew from the log?"
        typer.confirm(asked, abort=True, err=True)
    with client.calling(MetricsServiceStub) as stub:
        done = stub.RebuildUsage(request)
    if client.as_json:
        print_json(done)
    else:
        typer.echo(_rebuilt(done))


def findings_table(findings: Sequence[pb.UsageFinding]) -> Table:
    """Return the differences, one a row."""
    table = Table()
    for heading in ("day", "tenant", "user", "finding"):
        table.add_column(heading, overflow="fold")  # an id that is cut off is of no use
    for heading in ("log", "roll-up"):
        table.add_column(heading, justify="right")
    table.add_column("reason")
    for each in findings:
        table.add_row(
            shown(each.date),
            shown(each.tenant_id),
            shown(each.user_id),
            enum_name(pb.UsageFindingKind.DESCRIPTOR, each.kind),
            f"{each.log_count:,}",
            f"{each.rollup_count:,}",
            shown(each.reason),
        )
    return table


def spans(days: Sequence[date]) -> str:
    """Return days as text, consecutive ones by their first and last."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and day - found[-1][1] == timedelta(days=1):
            found[-1] = found[-1][0], day
        else:
            found.append((day, day))
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in found)


def conclusion(outcome: Outcome) -> list[str]:
    """Return the outcome of a verification in sentences."""
    said = []
    hidden = outcome.finding_count - len(outcome.findings)
    if hidden:
        said.append(f"… and {hidden:,} more; --json has all")
    if outcome.expired:
        said.append(f"not compared, as the log does not reach back: {spans(outcome.expired)}")
    compared = outcome.day_count - len(outcome.expired)
    verdict = "proven equal to the log"
    if outcome.finding_count:
        verdict = f"NOT equal to the log: {outcome.finding_count:,} findings"
    elif outcome.expired:
        verdict = "the other days are proven equal to the log" if compared else "nothing is proven"
    counts = f"{compared:,} days and {outcome.activity_count:,} activities compared"
    return [*said, f"{verdict} ({counts})"]


def _days(
    stub: MetricsServiceStub, request: pb.VerifyUsageRequest
) -> Iterator[pb.VerifyUsageResponse]:
    """Yield the days, and show the progress on the terminal."""
    first, last = (date.fromisoformat(each) for each in (request.start_date, request.end_date))
    with transfer(counted=True) as progress:
        bar = progress.add_task("verifying", total=(last - first).days + 1)
        for day in stub.VerifyUsage(request):
            progress.update(bar, advance=not day.more, description=f"verified {day.date}")
            yield day


def _print(outcome: Outcome) -> None:
    if outcome.findings:
        Console().print(findings_table(outcome.findings))
    for sentence in conclusion(outcome):
        typer.echo(sentence)


def _rebuilt(done: pb.RebuildUsageResponse) -> str:
    left = f"; {done.expired_days:,} days left, as the log does not reach back"
    return (
        f"{done.rebuilt_days:,} days counted anew, {done.changed_days:,} of them changed;"
        f" {done.activity_count:,} activities{left if done.expired_days else ''}"
    )
