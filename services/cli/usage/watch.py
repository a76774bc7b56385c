"""`prospect usage watch`: the tenant's totals of today as they change, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as rpc
from rich.console import Console
from rich.live import Live

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
from services.cli.terminal.resume import resuming, say_break
from services.cli.usage import tables as looks


def watch(
    count: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many updates; else on Ctrl-C.")
    ] = None,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Follow the totals of today: redrawn on a terminal, else a line each time they change.

    Breaks of the connection are gone over.

    Examples:

      prospect usage watch

      prospect usage watch --count 1 --json
    """
    try:
        with calling(address, token_file, ca_file) as call:
            _show(islice(_updates(call), count), as_json=as_json)
    except KeyboardInterrupt:
        typer.echo(err=True)  # below the ^C


def _updates(call: Call) -> Iterator[pb.WatchUsageResponse]:
    stub = rpc.MetricsServiceStub(call.channel)

    def watch_from(token: str) -> Iterator[pb.WatchUsageResponse]:
        request = pb.WatchUsageRequest(resume_token=token)
        return stub.WatchUsage(request, metadata=call.metadata)

    return resuming(watch_from, on_break=say_break)


def _show(updates: Iterator[pb.WatchUsageResponse], *, as_json: bool) -> None:
    console = Console()
    if as_json or not console.is_terminal:
        for each in updates:
            if as_json:
                print_json(each)
            else:
                typer.echo(looks.today_line(each))
        return
    first = next(updates, None)  # a refusal comes before there is anything to show
    if first is None:
        return
    with Live(looks.today(first), console=console, auto_refresh=False) as live:
        for each in updates:
            live.update(looks.today(each), refresh=True)
