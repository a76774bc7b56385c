"""`prospect usage watch`: the tenant's totals of today as they change, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from rich.console import Console
from rich.live import Live

from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.resume import resuming, say_break
from services.cli.terminal.shared_options import METRICS, calls
from services.cli.usage import tables


@calls(METRICS)
def watch(
    client: Client,
    count: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many updates; else on Ctrl-C.")
    ] = None,
) -> None:
    """Follow the totals of today: redrawn on a terminal, else a line each time they change.

    A broken connection is resumed.

    Examples:

      prospect usage watch

      prospect usage watch --count 1 --json
    """
    try:
        with client.calling(MetricsServiceStub) as stub:
            _show(islice(_updates(stub), count), as_json=client.as_json)
    except KeyboardInterrupt:
        typer.echo(err=True)  # below the ^C


def _updates(stub: MetricsServiceStub) -> Iterator[pb.WatchUsageResponse]:

    def watch_from(resume_token: str) -> Iterator[pb.WatchUsageResponse]:
        request = pb.WatchUsageRequest(resume_token=resume_token)
        return stub.WatchUsage(request)

    return resuming(watch_from, on_break=say_break)


def _show(updates: Iterator[pb.WatchUsageResponse], *, as_json: bool) -> None:
    console = Console()
    if as_json or not console.is_terminal:
        for each in updates:
            if as_json:
                print_json(each)
            else:
                typer.echo(tables.today_line(each))
        return
    first = next(updates, None)  # a refusal comes before there is anything to show
    if first is None:
        return
    with Live(tables.today(first), console=console, auto_refresh=False) as live:
        for each in updates:
            live.update(tables.today(each), refresh=True)
