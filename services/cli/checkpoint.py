"""`prospect activity checkpoint`: the newest signed checkpoint of the log, to keep elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import grpc
import typer
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import to_datetime
from chassis.settings import SettingsError
from services.cli.verify import service_at, told


def checkpoint(
    note: Annotated[Path | None, typer.Option(help="Write the note here.")] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="Write the service's public key here, to be compared with its owner's."),
    ] = None,
    address: Annotated[
        str, typer.Option(envvar="PROSPECT_ACTIVITY_ADDRESS", help="Where activity listens.")
    ] = "127.0.0.1:8401",
    token_file: Annotated[
        Path, typer.Option(envvar="PROSPECT_TOKEN_FILE", help="A file with your token.")
    ] = Path(".state/dev/token"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Print the newest checkpoint; keep it where who can write to the database cannot.

    Examples:

      prospect activity checkpoint

      prospect activity checkpoint --note note.txt --public-key key.pem
    """
    service = service_at(address, token_file)
    try:
        answer = service.stub.GetCheckpoint(pb.GetCheckpointRequest(), metadata=service.metadata)
    except grpc.RpcError as error:
        raise SettingsError(f"the activity service did not answer: {told(error)}") from None
    found = answer.checkpoint
    if note:
        note.write_text(found.note, encoding="utf-8")
    if public_key:
        public_key.write_text(found.public_key, encoding="utf-8")
    sealed = {"tree_size": found.tree_size, "root_hash": found.root_hash.hex()}
    when = {"sealed_at": to_datetime(found.sealed_at).isoformat(), "note": found.note}
    typer.echo(json.dumps(sealed | when, indent=2) if as_json else found.note, nl=as_json)
