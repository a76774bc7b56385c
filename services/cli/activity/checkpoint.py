"""`prospect activity checkpoint`: the newest signed checkpoint of the log, to keep elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub

from chassis.clock import to_datetime
from services.cli.terminal.client import Client
from services.cli.terminal.shared_options import ACTIVITY, calls


@calls(ACTIVITY)
def checkpoint(
    client: Client,
    note: Annotated[Path | None, typer.Option(help="Write the note here.")] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="Write the service's public key here, to be compared with its owner's."),
    ] = None,
) -> None:
    """Print the newest signed checkpoint, to be kept where nobody who can change the log can write.

    Examples:

      prospect activity checkpoint

      prospect activity checkpoint --note note.txt --public-key key.pem
    """
    with client.calling(ActivityServiceStub) as stub:
        answer = stub.GetCheckpoint(pb.GetCheckpointRequest())
    found = answer.checkpoint
    if note:
        note.write_text(found.note, encoding="utf-8")
    if public_key:
        public_key.write_text(found.public_key, encoding="utf-8")
    sealed = {"tree_size": found.tree_size, "root_hash": found.root_hash.hex()}
    when = {"sealed_at": to_datetime(found.sealed_at).isoformat(), "note": found.note}
    typer.echo(
        json.dumps(sealed | when, indent=2) if client.as_json else found.note, nl=client.as_json
    )
