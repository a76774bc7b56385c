"""`prospect usage show|top|summary`: usage by period, by user, and against the time before."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from rich.console import Console

from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.pages import page_size, pages
from services.cli.terminal.shared_options import METRICS, calls
from services.cli.usage import charts, tables
from services.cli.usage.options import (
    TODAY,
    TOTAL,
    CounterName,
    From,
    To,
    parse_counter,
    parse_days,
    tenant_days,
    zone_named,
)


class GrainName(StrEnum):
    """How long a period is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class DimensionName(StrEnum):
    """Something to group usage by."""

    USER = "user"
    ACTION = "action"


GRAINS = {
    GrainName.HOUR: pb.USAGE_GRAIN_HOUR,
    GrainName.DAY: pb.USAGE_GRAIN_DAY,
    GrainName.WEEK: pb.USAGE_GRAIN_WEEK,
    GrainName.MONTH: pb.USAGE_GRAIN_MONTH,
}
DIMENSIONS = {
    DimensionName.USER: pb.USAGE_DIMENSION_USER,
    DimensionName.ACTION: pb.USAGE_DIMENSION_ACTION,
}

Grain = Annotated[GrainName, typer.Option(help="How long a period is; at most 31 days of hours.")]
By = Annotated[list[DimensionName] | None, typer.Option(help="What to group by; may be repeated.")]
Users = Annotated[
    list[str] | None, typer.Option("--user", help="Only this user's UUID; may be repeated.")
]
Chart = Annotated[
    bool | None, typer.Option("--chart/--no-chart", help="Bars too; by default on a terminal.")
]
Limit = Annotated[int, typer.Option(min=1, help="How many users at most.")]


@calls(METRICS)
def show(
    client: Client,
    start: From = None,
    end: To = TODAY,
    grain: Grain = GrainName.DAY,
    by: By = None,
    user: Users = None,
    counter: CounterName = "",
    chart: Chart = None,
) -> None:
    """Show usage by hour, day, week or month of the tenant's time zone.

    The chart has --counter, by default all activities; counters of zero have no column.

    Examples:

      prospect usage show --from 7d --by user

      prospect usage show --grain hour --from today --counter searches_executed --chart

      prospect usage show --from 2026-01-01 --to 2026-12-31 --grain month --by action --json
    """
    days, by = parse_days(start, end), list(dict.fromkeys(by or ()))
    if counter and parse_counter(counter) == pb.COUNTER_TOTAL_ACTIVITIES and "action" in by:
        raise typer.BadParameter(f"--by action has no rows of {counter}: name another --counter")
    with client.calling(MetricsServiceStub) as stub:
        first, last = tenant_days(stub, days)
        request = pb.GetUsageRequest(
            start_date=first,
            end_date=last,
            user_ids=user,
            grain=GRAINS[grain],
            group_by=[DIMENSIONS[each] for each in by],
        )
        found = pages(stub.GetUsage, request)
        if client.as_json:
            for page in found:
                for each in page.periods:
                    print_json(each)
        else:
            _print_usage(list(found), request, counter, chart)


@calls(METRICS)
def top(
    client: Client,
    counter: CounterName = TOTAL,
    limit: Limit = 10,
    start: From = None,
    end: To = TODAY,
) -> None:
    """Show the users with the most of one counter, most first.

    Examples:

      prospect usage top --counter profiles_enriched --from 7d

      prospect usage top --limit 100 --json
    """
    days = parse_days(start, end)
    request = pb.ListTopUsersRequest(counter=parse_counter(counter), page_size=page_size(limit))
    with client.calling(MetricsServiceStub) as stub:
        request.start_date, request.end_date = tenant_days(stub, days)
        found = (each for page in pages(stub.ListTopUsers, request) for each in page.users)
        users = list(islice(found, limit))
    if client.as_json:
        for each in users:
            print_json(each)
    else:
        Console().print(tables.top(users, counter))


@calls(METRICS)
def summary(
    client: Client,
    start: From = None,
    end: To = TODAY,
) -> None:
    """Show totals beside those of the equally long range before, and how many users were active.

    Weeks and months are cut to the range.

    Examples:

      prospect usage summary

      prospect usage summary --from 2026-11-01 --to 2026-11-30 --json
    """
    days = parse_days(start, end)
    with client.calling(MetricsServiceStub) as stub:
        first, last = tenant_days(stub, days)
        request = pb.GetTenantSummaryRequest(start_date=first, end_date=last)
        said = stub.GetTenantSummary(request)
    if client.as_json:
        print_json(said)
    else:
        Console().print(tables.summary(said))


def _print_usage(
    pages: list[pb.GetUsageResponse], request: pb.GetUsageRequest, counter: str, chart: bool | None
) -> None:
    console, rows = Console(), [each for page in pages for each in page.periods]
    shape = charts.Shape(
        request.grain,
        pb.USAGE_DIMENSION_USER in request.group_by,
        pb.USAGE_DIMENSION_ACTION in request.group_by,
        zone_named(pages[0].time_zone),
    )
    console.print(charts.table(rows, shape, console.width))
    if console.is_terminal if chart is None else chart:
        console.print(charts.chart(rows, shape, counter, console.width))
