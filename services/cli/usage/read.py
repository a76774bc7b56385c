"""`prospect usage show|top|summary`: what was done, by whom, and how that changes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as rpc
from rich.console import Console

from services.cli.terminal.client import (
    METRICS_ADDRESS,
    TOKEN_FILE,
    AsJson,
    CaFile,
    Call,
    MetricsAddress,
    TokenFile,
    calling,
)
from services.cli.terminal.message_json import print_json
from services.cli.usage import charts
from services.cli.usage import tables as looks
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

MOST_PAGE = 1_000


class GrainName(StrEnum):
    """How long a period is."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class DimensionName(StrEnum):
    """What usage is told apart by."""

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
By = Annotated[
    list[DimensionName] | None, typer.Option(help="What to tell apart; may be repeated.")
]
Users = Annotated[
    list[str] | None, typer.Option("--user", help="Only this user's UUID; may be repeated.")
]
Chart = Annotated[
    bool | None, typer.Option("--chart/--no-chart", help="Bars too; by default on a terminal.")
]
Limit = Annotated[int, typer.Option(min=1, help="How many users at most.")]


def show(
    start: From = None,
    end: To = TODAY,
    grain: Grain = GrainName.DAY,
    by: By = None,
    user: Users = None,
    counter: CounterName = "",
    chart: Chart = None,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
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
    with calling(address, token_file, ca_file) as call:
        first, last = tenant_days(call, days)
        request = pb.GetUsageRequest(
            start_date=first,
            end_date=last,
            user_ids=user,
            grain=GRAINS[grain],
            group_by=[DIMENSIONS[each] for each in by],
        )
        if as_json:
            for page in _usage(call, request):
                for each in page.periods:
                    print_json(each)
        else:
            _print_usage(list(_usage(call, request)), request, counter, chart)


def top(
    counter: CounterName = TOTAL,
    limit: Limit = 10,
    start: From = None,
    end: To = TODAY,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show the users with the most of one counter, most first.

    Examples:

      prospect usage top --counter profiles_enriched --from 7d

      prospect usage top --limit 100 --json
    """
    days = parse_days(start, end)
    request = pb.ListTopUsersRequest(counter=parse_counter(counter))
    with calling(address, token_file, ca_file) as call:
        request.start_date, request.end_date = tenant_days(call, days)
        users = list(_top(call, request, limit))
    if as_json:
        for each in users:
            print_json(each)
    else:
        Console().print(looks.top(users, counter))


def summary(
    start: From = None,
    end: To = TODAY,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show totals beside those of the equally long range before, and how many users were active.

    Weeks and months are cut to the range.

    Examples:

      prospect usage summary

      prospect usage summary --from 2026-11-01 --to 2026-11-30 --json
    """
    days = parse_days(start, end)
    with calling(address, token_file, ca_file) as call:
        first, last = tenant_days(call, days)
        request = pb.GetTenantSummaryRequest(start_date=first, end_date=last)
        stub = rpc.MetricsServiceStub(call.channel)
        said = stub.GetTenantSummary(request, metadata=call.metadata)
    if as_json:
        print_json(said)
    else:
        Console().print(looks.summary(said))


def _usage(call: Call, request: pb.GetUsageRequest) -> Iterator[pb.GetUsageResponse]:
    stub = rpc.MetricsServiceStub(call.channel)
    while True:
        page = stub.GetUsage(request, metadata=call.metadata)
        yield page
        request.page_token = page.next_page_token
        if not request.page_token:
            return


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


def _top(call: Call, request: pb.ListTopUsersRequest, limit: int) -> Iterator[pb.TopUser]:
    stub = rpc.MetricsServiceStub(call.channel)
    while limit:
        request.page_size = min(limit, MOST_PAGE)
        page = stub.ListTopUsers(request, metadata=call.metadata)
        yield from page.users
        limit -= len(page.users)
        request.page_token = page.next_page_token
        if not request.page_token:
            return
