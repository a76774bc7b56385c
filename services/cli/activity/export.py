"""`prospect activity export`: entries into a file, which is written whole or not at all."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub

from services.cli.activity.options import Actions, From, Metadata, Targets, To, Users, make_filter
from services.cli.terminal.client import REFUSED_EXIT, Client
from services.cli.terminal.screen import transfer
from services.cli.terminal.shared_options import ACTIVITY, calls
from services.cli.terminal.whole_file import replacing


class Format(StrEnum):
    """The form of the file."""

    NDJSON = "ndjson"
    CSV = "csv"
    SEALED = "sealed-ndjson"


FORMATS = {
    Format.NDJSON: pb.EXPORT_FORMAT_NDJSON,
    Format.CSV: pb.EXPORT_FORMAT_CSV,
    Format.SEALED: pb.EXPORT_FORMAT_SEALED_NDJSON,
}


@calls(ACTIVITY)
def export(
    client: Client,
    path: Annotated[Path, typer.Argument(help="The file to write; an older one is replaced.")],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="By default csv for *.csv, else ndjson; verify --file reads sealed-ndjson.",
        ),
    ] = None,
    user: Users = None,
    action: Actions = None,
    start: From = None,
    end: To = None,
    target: Targets = None,
    metadata: Metadata = None,
) -> None:
    """Export entries to a file, oldest first; the export itself is logged.

    Examples:

      prospect activity export november.csv --from 2026-11-01 --to 2026-12-01

      prospect activity export all.ndjson

      prospect activity export sealed.ndjson --format sealed-ndjson
    """
    form = form or (Format.CSV if path.suffix.lower() == ".csv" else Format.NDJSON)
    wanted = make_filter(user, action, start, end, target, metadata)
    request = pb.ExportActivitiesRequest(filter=wanted, format=FORMATS[form])
    with client.calling(ActivityServiceStub) as stub, replacing(path) as file:
        rows, size = _receive(stub, request, file)
    result = {"file": str(path), "rows": rows, "bytes": size}
    typer.echo(
        json.dumps(result) if client.as_json else f"{rows:,} entries, {size:,} bytes: {path}"
    )


def _receive(
    stub: ActivityServiceStub, request: pb.ExportActivitiesRequest, file: BinaryIO
) -> tuple[int, int]:
    """Write the export; return its rows and bytes, which must be what the service counted."""
    counted = stub.CountActivities(pb.CountActivitiesRequest(filter=request.filter))
    rows = size = 0
    responses = stub.ExportActivities(request)
    with transfer(counted=True) as progress:
        bar = progress.add_task("exporting", total=counted.counts[0].activity_count)
        for response in responses:
            file.write(response.chunk)
            rows, size = response.row_count, size + len(response.chunk)
            progress.update(bar, completed=rows)
    sent = {name: str(value) for name, value in responses.trailing_metadata() or ()}
    if (sent.get("exported-rows"), sent.get("exported-bytes")) != (str(rows), str(size)):
        typer.secho(
            "prospect: a part of the export did not arrive; export again", fg="red", err=True
        )
        raise typer.Exit(REFUSED_EXIT)
    return rows, size
