"""`prospect usage quota`: limits of a counter by day or month."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as rpc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.cli.terminal.client import (
    METRICS_ADDRESS,
    NOT_FOUND_EXIT,
    REFUSED_EXIT,
    TOKEN_FILE,
    AsJson,
    CaFile,
    MetricsAddress,
    TokenFile,
    calling,
)
from services.cli.terminal.message_json import enum_name, print_json
from services.cli.usage.options import COUNTERS, parse_counter
from services.cli.usage.tables import CELL_BAR, bar, counter_name

app = typer.Typer(no_args_is_help=True)


class PeriodName(StrEnum):
    """How long a quota counts before it begins again at zero."""

    DAY = "day"
    MONTH = "month"


PERIODS = {PeriodName.DAY: pb.QUOTA_PERIOD_DAY, PeriodName.MONTH: pb.QUOTA_PERIOD_MONTH}

Counter = Annotated[str, typer.Argument(help=f"One of {', '.join(COUNTERS)}.")]
Period = Annotated[PeriodName, typer.Option(help="A day or a month of the tenant's time zone.")]
Soft = Annotated[
    int, typer.Option(min=0, help="Where someone is told, and no work is refused; 0 is none.")
]
Hard = Annotated[int, typer.Option(min=0, help="What a check does not let pass; 0 is none.")]


@app.callback()
def quota() -> None:
    """Limit counters by day or month, and ask whether work may be done.

    Example: prospect usage quota check profiles_enriched --amount 50
    """


@app.command("list")
def list_(
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show all quotas and what they stand at now.

    Example: prospect usage quota list
    """
    with calling(address, token_file, ca_file) as call:
        stub = rpc.MetricsServiceStub(call.channel)
        quotas = stub.ListQuotas(pb.ListQuotasRequest(), metadata=call.metadata).quotas
    if as_json:
        for each in quotas:
            print_json(each)
    else:
        Console().print(table(quotas) if quotas else "no quotas")


@app.command("set")
def set_(
    counter: Counter,
    period: Period,
    soft: Soft = 0,
    hard: Hard = 0,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Make or replace the quota of a counter and period. Needs metrics:admin.

    What was counted in the period before counts.

    Examples:

      prospect usage quota set profiles_enriched --period month --soft 800 --hard 1000

      prospect usage quota set csv_exports --period day --hard 20
    """
    number = parse_counter(counter)
    if not soft and not hard:
        raise typer.BadParameter("give --soft, --hard or both")
    quota = pb.Quota(counter=number, period=PERIODS[period], soft_limit=soft, hard_limit=hard)
    with calling(address, token_file, ca_file) as call:
        stub = rpc.MetricsServiceStub(call.channel)
        made = stub.SetQuota(pb.SetQuotaRequest(quota=quota), metadata=call.metadata).quota
    if as_json:
        print_json(made)
    else:
        Console().print(table([made]))


@app.command("check")
def check(
    counter: Counter,
    amount: Annotated[int, typer.Option(min=1, help="How many are about to be done.")] = 1,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Say whether work may be done; exit code 0 where it may, 1 where a hard limit is in its way.

    It counts nothing: what is recorded counts. A counter without a quota is always allowed.

    Example: prospect usage quota check profiles_enriched --amount 50
    """
    request = pb.CheckQuotaRequest(counter=parse_counter(counter), amount=amount)
    with calling(address, token_file, ca_file, not_found=REFUSED_EXIT) as call:
        stub = rpc.MetricsServiceStub(call.channel)
        answer = stub.CheckQuota(request, metadata=call.metadata)
    if as_json:
        print_json(answer)
    else:
        typer.echo(verdict(answer))
        if answer.quotas:
            Console().print(table(answer.quotas))
    raise typer.Exit(0 if answer.allowed else NOT_FOUND_EXIT)


@app.command("remove")
def remove(
    counter: Counter,
    period: Period,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Remove a quota; exit code 1 where there is none. Needs metrics:admin.

    Example: prospect usage quota remove csv_exports --period day
    """
    request = pb.DeleteQuotaRequest(counter=parse_counter(counter), period=PERIODS[period])
    with calling(address, token_file, ca_file) as call:
        rpc.MetricsServiceStub(call.channel).DeleteQuota(request, metadata=call.metadata)
    if as_json:
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
    """Quotas, each with a bar of what is used of its hard limit, or of its soft one without."""
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
