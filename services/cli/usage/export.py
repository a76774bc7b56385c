"""`prospect usage export`: usage by day and user as a CSV, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.shared_options import METRICS, calls
from services.cli.terminal.whole_file import replacing
from services.cli.usage.options import TODAY, Days, From, To, parse_days, tenant_days

STDOUT = "-"


@calls(METRICS)
def export(
    client: Client,
    file: Annotated[
        str, typer.Argument(help="The file to write, an older one is replaced; - for stdout.")
    ],
    start: From = None,
    end: To = TODAY,
) -> None:
    """Export usage by day and user as CSV, all of it read at one moment.

    Examples:

      prospect usage export november.csv --from 2026-11-01 --to 2026-11-30

      prospect usage export - --from 7d | head
    """
    days = parse_days(start, end)
    if file == STDOUT and client.as_json:
        raise typer.BadParameter("--json tells of a file: with - the CSV is all that is printed")
    with client.calling(MetricsServiceStub) as stub:
        if file == STDOUT:
            _write(_chunks(stub, days), typer.get_binary_stream("stdout"))
            return
        with replacing(Path(file)) as target:
            rows, size = _write(_chunks(stub, days), target)
    if client.as_json:
        print_json({"file": file, "rows": rows, "bytes": size})
    else:
        typer.echo(f"{rows:,} rows, {size:,} bytes: {file}")


def _chunks(stub: MetricsServiceStub, days: Days) -> Iterator[bytes]:
    first, last = tenant_days(stub, days)
    request = pb.ExportUsageRequest(start_date=first, end_date=last)
    for response in stub.ExportUsage(request):
        yield response.chunk


def _write(chunks: Iterator[bytes], file: BinaryIO) -> tuple[int, int]:
    """Write the export; return its rows without the header, and its bytes."""
    lines = size = 0
    for chunk in chunks:
        file.write(chunk)
        # No value of a row has a line break in it.
        lines, size = lines + chunk.count(b"\n"), size + len(chunk)
    return max(0, lines - 1), size
