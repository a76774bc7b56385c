"""`prospect usage quota`: limits of a counter by day or month."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.cli.terminal.client import NOT_FOUND_EXIT, REFUSED_EXIT, Client
from services.cli.terminal.message_json import enum_name, print_json
from services.cli.terminal.shared_options import METRICS, before_command, calls
from services.cli.usage.options import COUNTERS, parse_counter
from services.cli.usage.tables import CELL_BAR, bar, counter_name

app = typer.Typer(
    callback=before_command(METRICS),
    no_args_is_help=True,
    help="Limit counters by day or month, and ask whether work may be done.",
    epilog="Example: prospect usage quota check profiles_enriched --amount 50",
)


class PeriodName(StrEnum):
    """How long a quota counts before it begins again at zero."""

    DAY = "day"
    MONTH = "month"


PERIODS = {PeriodName.DAY: pb.QUOTA_PERIOD_DAY, PeriodName.MONTH: pb.QUOTA_PERIOD_MONTH}

Counter = Annotated[str, typer.Argument(help=f"One of {', '.join(COUNTERS)}.")]
Period = Annotated[PeriodName, typer.Option(help="A day or a month of the tenant's time zone.")]
Soft = Annotated[
    int, typer.Option(min=0, help="Passing it is announced and refuses nothing; 0 is none.")
]
Hard = Annotated[int, typer.Option(min=0, help="A check refuses what would pass it; 0 is none.")]


@app.command("list")
@calls(METRICS)
def list_(
    client: Client,
) -> None:
    """Show all quotas and what they stand at now.

    Example: prospect usage quota list
    """
    with client.calling(MetricsServiceStub) as stub:
        quotas = stub.ListQuotas(pb.ListQuotasRequest()).quotas
    if client.as_json:
        for each in quotas:
            print_json(each)
    else:
        Console().print(table(quotas) if quotas else "no quotas")


@app.command("set")
@calls(METRICS)
def set_(
    client: Client,
    counter: Counter,
    period: Period,
    soft: Soft = 0,
    hard: Hard = 0,
) -> None:
    """Make or replace the quota of a counter and period. Needs metrics:admin.

    What was counted earlier in the period counts towards it.

    Examples:

      prospect usage quota set profiles_enriched --period month --soft 800 --hard 1000

      prospect usage quota set csv_exports --period day --hard 20
    """
    number = parse_counter(counter)
    if not soft and not hard:
        raise typer.BadParameter("give --soft, --hard or both")
    quota = pb.Quota(counter=number, period=PERIODS[period], soft_limit=soft, hard_limit=hard)
    with client.calling(MetricsServiceStub) as stub:
        made = stub.SetQuota(pb.SetQuotaRequest(quota=quota)).quota
    if client.as_json:
        print_json(made)
    else:
        Console().print(table([made]))


@app.command("check")
@calls(METRICS)
def check(
    client: Client,
    counter: Counter,
    amount: Annotated[int, typer.Option(min=1, help="How many are about to be done.")] = 1,
) -> None:
    """Say whether work may be done: exit code 0 for yes, 1 where a hard limit would be passed.

    A check counts nothing; recording does. A counter without a quota is always allowed.

    Example: prospect usage quota check profiles_enriched --amount 50
    """
    request = pb.CheckQuotaRequest(counter=parse_counter(counter), amount=amount)
    with client.calling(MetricsServiceStub, not_found=REFUSED_EXIT) as stub:
        answer = stub.CheckQuota(request)
    if client.as_json:
        print_json(answer)
    else:
        typer.echo(verdict(answer))
        if answer.quotas:
            Console().print(table(answer.quotas))
    raise typer.Exit(0 if answer.allowed else NOT_FOUND_EXIT)


@app.command("remove")
@calls(METRICS)
def remove(
    client: Client,
    counter: Counter,
    period: Period,
) -> None:
    """Remove a quota; exit code 1 where there is none. Needs metrics:admin.

    Example: prospect usage quota remove csv_exports --period day
    """
    request = pb.DeleteQuotaRequest(counter=parse_counter(counter), period=PERIODS[period])
    with client.calling(MetricsServiceStub) as stub:
        stub.DeleteQuota(request)
    if client.as_json:
        print_json({"counter": counter, "period": period.value})
    else:
        typer.echo(f"removed the quota of {counter} by {period}")


def verdict(answer: pb.CheckQuotaResponse) -> str:
    """Say whether work may be done."""
    if not answer.allowed:
        return "not allowed: a hard limit would be passed"
    if answer.soft_limit_passed:
        return "allowed; a soft limit would be passed"
    return "allowed" if answer.quotas else "allowed: there is no quota"


def table(quotas: Iterable[pb.Quota]) -> Table:
    """Return quotas with a bar of how much is used of the hard limit, else of the soft one."""
    table = Table("counter", "by")
    for heading in ("used", "soft", "hard", "%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in quotas:
        limit = each.hard_limit or each.soft_limit
        filled = bar(each.used, limit, CELL_BAR)
        limits = (f"{each.soft_limit:,}", f"{each.hard_limit:,}")
        table.add_row(
            counter_name(each.counter),
            enum_name(pb.QuotaPeriod.DESCRIPTOR, each.period),
            f"{each.used:,}",
            *("" if text == "0" else text for text in limits),
            f"{each.used / limit:.0%}" if limit else "",
            Text(filled.ljust(CELL_BAR, "░"), style=_style(each)),
        )
    return table


def _style(quota: pb.Quota) -> str:
    if quota.hard_limit and quota.used >= quota.hard_limit:
        return "red"
    return "yellow" if quota.soft_limit and quota.used >= quota.soft_limit else "green"
