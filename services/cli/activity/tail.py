"""`prospect activity tail`: the log as it grows, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import grpc
import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as rpc

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
from services.cli.terminal.resume import resuming, say_break


def tail(
    user: Users = None,
    action: Actions = None,
    start: From = None,
    end: To = None,
    target: Targets = None,
    metadata: Metadata = None,
    resume: Annotated[
        str, typer.Option(help="The token that a tail ended with: go on from there.")
    ] = "",
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Follow the log: entries as they are recorded, until Ctrl-C.

    Examples:

      prospect activity tail --action search_executed

      prospect activity tail --json | jq .metadata.query
    """
    wanted = make_filter(user, action, start, end, target, metadata)
    last = resume
    with calling(address, token_file, ca_file) as call:
        try:
            for response in _follow(call, wanted, resume):
                if not last:
                    typer.echo("following; Ctrl-C ends", err=True)
                for entry in response.activities:
                    typer.echo(show.json_line(entry) if as_json else show.line_of(entry))
                last = response.resume_token
        except (KeyboardInterrupt, grpc.RpcError) as end_of_it:
            if last:
                typer.echo(f"\nto go on from here: --resume {last}", err=True)
            if isinstance(end_of_it, grpc.RpcError):
                raise


def _follow(
    call: Call, wanted: pb.ActivityFilter, token: str
) -> Iterator[pb.TailActivitiesResponse]:
    """Yield what a tail says, over breaks of the connection."""
    stub = rpc.ActivityServiceStub(call.channel)

    def tail_from(token: str) -> Iterator[pb.TailActivitiesResponse]:
        request = pb.TailActivitiesRequest(filter=wanted, resume_token=token)
        return stub.TailActivities(request, metadata=call.metadata)

    return resuming(tail_from, token, on_break=say_break)
