"""`prospect activity tail`: the log as it grows, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import grpc
import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub

from services.cli.activity import entries
from services.cli.activity.options import Actions, From, Metadata, Targets, To, Users, make_filter
from services.cli.terminal.client import Client
from services.cli.terminal.resume import resuming, say_break
from services.cli.terminal.shared_options import ACTIVITY, calls


@calls(ACTIVITY)
def tail(
    client: Client,
    user: Users = None,
    action: Actions = None,
    start: From = None,
    end: To = None,
    target: Targets = None,
    metadata: Metadata = None,
    resume: Annotated[
        str,
        typer.Option(help="The resume token that an earlier tail ended with: go on from there."),
    ] = "",
) -> None:
    """Follow the log: entries as they are recorded, until Ctrl-C.

    Examples:

      prospect activity tail --action search_executed

      prospect activity tail --json | jq .metadata.query
    """
    wanted = make_filter(user, action, start, end, target, metadata)
    last = resume
    with client.calling(ActivityServiceStub) as stub:
        try:
            for response in _follow(stub, wanted, resume):
                if not last:
                    typer.echo("following; Ctrl-C ends", err=True)
                for entry in response.activities:
                    typer.echo(
                        entries.json_line(entry) if client.as_json else entries.line_of(entry)
                    )
                last = response.resume_token
        except (KeyboardInterrupt, grpc.RpcError) as end_of_it:
            if last:
                typer.echo(f"\nto go on from here: --resume {last}", err=True)
            if isinstance(end_of_it, grpc.RpcError):
                raise


def _follow(
    stub: ActivityServiceStub, wanted: pb.ActivityFilter, resume_token: str
) -> Iterator[pb.TailActivitiesResponse]:
    """Yield the messages of a tail; after a break go on from the last token."""

    def tail_from(resume_token: str) -> Iterator[pb.TailActivitiesResponse]:
        request = pb.TailActivitiesRequest(filter=wanted, resume_token=resume_token)
        return stub.TailActivities(request)

    return resuming(tail_from, resume_token, on_break=say_break)
