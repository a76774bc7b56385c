"""`prospect activity`: the log of your tenant, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as rpc
from rich.console import Console
from rich.table import Table

from chassis.clock import to_datetime
from services.cli.activity import checkpoint, export, keep, record, tail, verify
from services.cli.activity import entries as show
from services.cli.activity.options import Actions, From, Metadata, Targets, To, Users, make_filter
from services.cli.terminal.client import (
    ADDRESS,
    TOKEN_FILE,
    Address,
    AsJson,
    CaFile,
    Call,
    TokenFile,
    calling,
)
from services.cli.terminal.times import parse_time

MOST_PAGE = 1_000
app = typer.Typer(
    no_args_is_help=True, help="Record, read, follow, export and verify the activity log."
)
app.command("record")(record.record)
app.command("tail")(tail.tail)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("checkpoint")(checkpoint.checkpoint)
app.command("erase")(keep.erase)
app.command("retention")(keep.retention)
app.command("partitions")(keep.partitions)
app.command("maintain")(keep.maintain)


class Dimension(StrEnum):
    """Something to count by."""

    ACTION = "action"
    USER = "user"
    DAY = "day"
    HOUR = "hour"


DIMENSIONS = {
    Dimension.ACTION: pb.COUNT_DIMENSION_ACTION_TYPE,
    Dimension.USER: pb.COUNT_DIMENSION_USER,
    Dimension.DAY: pb.COUNT_DIMENSION_DAY,
    Dimension.HOUR: pb.COUNT_DIMENSION_HOUR,
}


@app.callback()
def activity() -> None:
    """Record, read, follow, export and verify the activity log of your tenant."""


@app.command("list")
def list_(
    user: Users = None,
    action: Actions = None,
    start: From = None,
    end: To = None,
    target: Targets = None,
    metadata: Metadata = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries at most.")] = 20,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Turn the order.")] = False,
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """List entries, newest first.

    Examples:

      prospect activity list --action login --from 7d

      prospect activity list --metadata '{"query": "cfo"}' --limit 1000 --json
    """
    request = pb.ListActivitiesRequest(
        filter=make_filter(user, action, start, end, target, metadata),
        order_by="created_at asc" if oldest_first else "created_at desc",
    )
    with calling(address, token_file, ca_file) as call:
        entries = _list(call, request, limit)
        if as_json:
            for entry in entries:
                typer.echo(show.json_line(entry))
        else:
            Console().print(show.table_of(entries))


@app.command("get")
def get(
    activity_id: Annotated[str, typer.Argument(help="The entry's UUID.")],
    at: Annotated[
        str | None,
        typer.Option(help="When it happened, exactly; needed where the id is not of version 7."),
    ] = None,
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show one entry; exit code 1 where there is none.

    Example: prospect activity get 01938f2e-7a3b-7c00-8000-0123456789ab
    """
    moment = parse_time("--at", at) if at else None
    request = pb.GetActivityRequest(activity_id=activity_id, created_at=moment)
    with calling(address, token_file, ca_file) as call:
        stub = rpc.ActivityServiceStub(call.channel)
        entry = stub.GetActivity(request, metadata=call.metadata).activity
    if as_json:
        typer.echo(show.json_line(entry))
    else:
        Console().print(show.card_of(entry))


@app.command("count")
def count(
    by: Annotated[
        list[Dimension] | None, typer.Option(help="What to group by; may be repeated.")
    ] = None,
    user: Users = None,
    action: Actions = None,
    start: From = None,
    end: To = None,
    target: Targets = None,
    metadata: Metadata = None,
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Count entries.

    Examples:

      prospect activity count

      prospect activity count --by day --by action --from 30d
    """
    request = pb.CountActivitiesRequest(
        filter=make_filter(user, action, start, end, target, metadata),
        group_by=[DIMENSIONS[each] for each in by or ()],
    )
    with calling(address, token_file, ca_file) as call:
        rows = [_row(each, by or ()) for each in _counts(call, request)]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        table = Table(*(rows[0] if rows else ["count"]))
        for row in rows:
            table.add_row(
                *(f"{each:,}" if isinstance(each, int) else each for each in row.values())
            )
        Console().print(table)


def _list(call: Call, request: pb.ListActivitiesRequest, limit: int) -> Iterator[pb.Activity]:
    stub = rpc.ActivityServiceStub(call.channel)
    while limit:
        request.page_size = min(limit, MOST_PAGE)
        page = stub.ListActivities(request, metadata=call.metadata)
        yield from page.activities
        limit -= len(page.activities)
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _counts(call: Call, request: pb.CountActivitiesRequest) -> Iterator[pb.ActivityCount]:
    stub = rpc.ActivityServiceStub(call.channel)
    while True:
        page = stub.CountActivities(request, metadata=call.metadata)
        yield from page.counts
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _row(count: pb.ActivityCount, by: list[Dimension] | tuple[()]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if Dimension.DAY in by:
        row["day"] = f"{to_datetime(count.period_start):%Y-%m-%d}"
    if Dimension.HOUR in by:
        row["hour"] = f"{to_datetime(count.period_start):%Y-%m-%dT%H:00Z}"
    if Dimension.USER in by:
        row["user"] = count.user_id
    if Dimension.ACTION in by:
        row["action"] = show.action_name(count.action_type)
    return row | {"count": count.activity_count}
