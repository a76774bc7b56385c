"""`prospect activity record`: one entry by options, or a file of them over one stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as rpc

from services.cli.activity import file as activity_file
from services.cli.activity.options import ACTIONS, parse_action
from services.cli.terminal.client import (
    ADDRESS,
    REFUSED_EXIT,
    TOKEN_FILE,
    Address,
    AsJson,
    CaFile,
    TokenFile,
    calling,
)
from services.cli.terminal.times import TIME_HELP, parse_time

MOST_SHOWN = 20


def record(
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
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Record one entry, or a file of them; recording the same file again adds nothing.

    Examples:

      prospect activity record --user 0192f0c1-0000-7000-8000-0000000000aa --action login

      prospect activity record --file november.csv
    """
    if file:
        with calling(address, token_file, ca_file) as call:
            result = activity_file.record(call, file)
        _report_file(result, as_json)
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
    with calling(address, token_file, ca_file) as call:
        answer = rpc.ActivityServiceStub(call.channel).RecordActivity(
            pb.RecordActivityRequest(activity=entry), metadata=call.metadata
        )
    said: dict[str, Any] = {"activity_id": answer.activity_id, "duplicate": answer.duplicate}
    known = " (it was there already)" if answer.duplicate else ""
    typer.echo(json.dumps(said) if as_json else f"recorded {answer.activity_id}{known}")


def _report_file(result: activity_file.Result, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.said()))
    else:
        typer.echo(
            f"{result.recorded:,} recorded, {result.duplicates:,} there already,"
            f" {len(result.refused):,} refused"
        )
        for each in result.refused[:MOST_SHOWN]:
            where = f"line {each.line}: {each.field}".removesuffix(": ")
            typer.echo(f"{where}: {each.message} ({each.rule})", err=True)
        if len(result.refused) > MOST_SHOWN:
            typer.echo(f"and {len(result.refused) - MOST_SHOWN:,} more (--json)", err=True)
    if result.broken:
        typer.echo(f"the rest was not read: {result.broken}", err=True)
    if result.refused or result.broken:
        raise typer.Exit(REFUSED_EXIT)
