"""`prospect activity list|get|count`: what the log holds."""

from __future__ import annotations

import json
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub
from rich.console import Console
from rich.table import Table

from chassis.clock import to_datetime
from services.cli.activity import entries
from services.cli.activity.options import Actions, From, Metadata, Targets, To, Users, make_filter
from services.cli.terminal.client import Client
from services.cli.terminal.pages import page_size, pages
from services.cli.terminal.shared_options import ACTIVITY, calls
from services.cli.terminal.times import parse_time


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


@calls(ACTIVITY)
def list_(
    client: Client,
    user: Users = None,
    action: Actions = None,
    start: From = None,
    end: To = None,
    target: Targets = None,
    metadata: Metadata = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries at most.")] = 20,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Turn the order.")] = False,
) -> None:
    """List entries, newest first.

    Examples:

      prospect activity list --action login --from 7d

      prospect activity list --metadata '{"query": "cfo"}' --limit 1000 --json
    """
    request = pb.ListActivitiesRequest(
        filter=make_filter(user, action, start, end, target, metadata),
        order_by="created_at asc" if oldest_first else "created_at desc",
        page_size=page_size(limit),
    )
    with client.calling(ActivityServiceStub) as stub:
        found = (each for page in pages(stub.ListActivities, request) for each in page.activities)
        listed = islice(found, limit)
        if client.as_json:
            for entry in listed:
                typer.echo(entries.json_line(entry))
        else:
            Console().print(entries.table_of(listed))


@calls(ACTIVITY)
def get(
    client: Client,
    activity_id: Annotated[str, typer.Argument(help="The entry's UUID.")],
    at: Annotated[
        str | None,
        typer.Option(help="When it happened, exactly; needed where the id is not of version 7."),
    ] = None,
) -> None:
    """Show one entry; exit code 1 where there is none.

    Example: prospect activity get 01938f2e-7a3b-7c00-8000-0123456789ab
    """
    moment = parse_time("--at", at) if at else None
    request = pb.GetActivityRequest(activity_id=activity_id, created_at=moment)
    with client.calling(ActivityServiceStub) as stub:
        entry = stub.GetActivity(request).activity
    if client.as_json:
        typer.echo(entries.json_line(entry))
    else:
        Console().print(entries.card_of(entry))


@calls(ACTIVITY)
def count(
    client: Client,
    by: Annotated[
        list[Dimension] | None, typer.Option(help="What to group by; may be repeated.")
    ] = None,
    user: Users = None,
    action: Actions = None,
    start: From = None,
    end: To = None,
    target: Targets = None,
    metadata: Metadata = None,
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
    with client.calling(ActivityServiceStub) as stub:
        counted = pages(stub.CountActivities, request)
        rows = [_row(each, by or ()) for page in counted for each in page.counts]
    if client.as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        table = Table(*(rows[0] if rows else ["count"]))
        for row in rows:
            table.add_row(
                *(f"{each:,}" if isinstance(each, int) else each for each in row.values())
            )
        Console().print(table)


def _row(count: pb.ActivityCount, by: list[Dimension] | tuple[()]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if Dimension.DAY in by:
        row["day"] = f"{to_datetime(count.period_start):%Y-%m-%d}"
    if Dimension.HOUR in by:
        row["hour"] = f"{to_datetime(count.period_start):%Y-%m-%dT%H:00Z}"
    if Dimension.USER in by:
        row["user"] = count.user_id
    if Dimension.ACTION in by:
        row["action"] = entries.action_name(count.action_type)
    return row | {"count": count.activity_count}
