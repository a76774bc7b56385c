"""`prospect activity record`: one entry by options, or a file of them over one stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub

from services.cli.activity import upload
from services.cli.activity.options import ACTIONS, parse_action
from services.cli.terminal.client import REFUSED_EXIT, Client
from services.cli.terminal.screen import shown
from services.cli.terminal.shared_options import ACTIVITY, calls
from services.cli.terminal.times import TIME_HELP, parse_time

MAX_SHOWN = 20


@calls(ACTIVITY)
def record(
    client: Client,
    user: Annotated[str | None, typer.Option(help="Who acted: the user's UUID.")] = None,
    action: Annotated[str | None, typer.Option(help=f"One of: {', '.join(ACTIONS)}.")] = None,
    target: Annotated[str, typer.Option(help="What was acted on.")] = "",
    metadata: Annotated[str, typer.Option(help="A JSON object.")] = "",
    at: Annotated[str | None, typer.Option(help=f"When, if not now: {TIME_HELP}.")] = None,
    activity_id: Annotated[
        str, typer.Option("--id", help="A UUID (version 7), to make sending it again harmless.")
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option(help="Record all of a file, *.csv or NDJSON, with the names of an export."),
    ] = None,
) -> None:
    """Record one entry, or a file of them; recording the same file again adds nothing.

    Examples:

      prospect activity record --user 0192f0c1-0000-7000-8000-0000000000aa --action login

      prospect activity record --file november.csv
    """
    if file:
        with client.calling(ActivityServiceStub) as stub:
            result = upload.record_file(stub, file)
        _report_file(result, client.as_json)
        return
    if not user or not action:
        raise typer.BadParameter("give --user and --action, or --file")
    entry = pb.NewActivity(
        activity_id=activity_id,
        user_id=user,
        action_type=parse_action(action),
        target_id=target,
        metadata_json=metadata,
        created_at=parse_time("--at", at) if at else None,
    )
    with client.calling(ActivityServiceStub) as stub:
        answer = stub.RecordActivity(pb.RecordActivityRequest(activity=entry))
    said: dict[str, Any] = {"activity_id": answer.activity_id, "duplicate": answer.duplicate}
    known = " (it was there already)" if answer.duplicate else ""
    typer.echo(json.dumps(said) if client.as_json else f"recorded {answer.activity_id}{known}")


def _report_file(result: upload.Result, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
    else:
        typer.echo(
            f"{result.recorded:,} recorded, {result.duplicates:,} there already,"
            f" {len(result.refused):,} refused"
        )
        for each in result.refused[:MAX_SHOWN]:
            where = f"line {each.line}: {each.field}".removesuffix(": ")
            typer.echo(shown(f"{where}: {each.message} ({each.rule})"), err=True)
        if len(result.refused) > MAX_SHOWN:
            typer.echo(f"and {len(result.refused) - MAX_SHOWN:,} more (--json)", err=True)
    if result.broken:
        typer.echo(f"the rest was not read: {result.broken}", err=True)
    if result.refused or result.broken:
        raise typer.Exit(REFUSED_EXIT)
