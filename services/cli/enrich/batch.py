"""`prospect enrich batch`: send a CSV of prospects, follow the runs, list refused rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import grpc
import typer
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub

from services.cli.enrich import csv_rows
from services.cli.enrich.batch_progress import bar
from services.cli.enrich.follow import INTERRUPTED_EXIT
from services.cli.enrich.options import PRIORITIES, Force, NoWait, PriorityName
from services.cli.enrich.refused_rows import RefusedRows
from services.cli.enrich.upload import MAX_ROWS, Terms, Upload
from services.cli.enrich.watch import watch_batch
from services.cli.terminal.client import REFUSED_EXIT, Client
from services.cli.terminal.dollars import parse_dollars
from services.cli.terminal.message_json import print_json
from services.cli.terminal.shared_options import ENRICHMENT, calls


@calls(ENRICHMENT)
def batch(
    client: Client,
    file: Annotated[str, typer.Argument(metavar="FILE.csv", help="A CSV, or - for stdin.")],
    batch_id: Annotated[
        str, typer.Option(help="UUID of a batch whose sending broke off: send the rest of it.")
    ] = "",
    refused: Annotated[
        Path | None,
        typer.Option(
            help="Write refused rows here, as a CSV that can be corrected and sent again."
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="DOLLARS", help="The most that each run may spend.")
    ] = "",
    priority: Annotated[
        PriorityName | None,
        typer.Option(help="Its priority among your own requests; low by default."),
    ] = None,
    force: Force = False,
    no_wait: NoWait = False,
) -> None:
    """Research up to 10,000 prospects: send a CSV, follow its runs.

    Columns: name and company; if wanted title, email, linkedin_url, company_cik, is_public_company,
    prospect_id. Valid rows are accepted where others are refused. Ctrl-C does not stop the batch.

    Exit code 0 where every row was accepted and every run is complete, 1 where a run failed or was
    cancelled, 2 where rows were refused.

    Examples:

      prospect enrich batch prospects.csv --refused refused.csv

      prospect enrich batch prospects.csv --budget 0.50 --no-wait

      grep -v example prospects.csv | prospect enrich batch - --json
    """
    upload = Upload(file, Terms(PRIORITIES[priority], _micros(budget), force), batch_id)
    total = _count(file)
    with RefusedRows(refused, as_json=client.as_json) as refusals:
        with client.calling(EnrichmentServiceStub) as stub:
            _say_id(upload.batch_id, client.as_json)
            _send(stub, upload, refusals, total, client.as_json)
            code = 0 if no_wait else watch_batch(stub, upload.batch_id, "", client.as_json)
        if refusals.count:
            code = REFUSED_EXIT
    raise typer.Exit(code)


def _send(
    stub: EnrichmentServiceStub,
    upload: Upload,
    refusals: RefusedRows,
    total: int | None,
    as_json: bool,
) -> None:
    """Send the file to its end; where that fails, say how to send the rest."""
    try:
        with bar(quiet=as_json) as progress:
            task = progress.add_task("accepting", total=total, counts="")
            for refused in upload.send(stub):
                refusals.add(refused)
                done, counts = upload.accepted + refusals.count, f"{refusals.count:,} refused"
                progress.update(task, completed=done, counts=counts)
    except KeyboardInterrupt:
        _say_how_to_send_the_rest(upload)
        raise typer.Exit(INTERRUPTED_EXIT) from None
    except (typer.BadParameter, grpc.RpcError):
        if upload.accepted:
            _say_how_to_send_the_rest(upload)
        raise
    if as_json:
        print_json({"accepted": upload.accepted, "joined": upload.joined})
    else:
        joined = f", {upload.joined:,} of them joined runs" if upload.joined else ""
        typer.echo(f"{upload.accepted:,} accepted{joined}, {refusals.count:,} refused")


def _say_how_to_send_the_rest(upload: Upload) -> None:
    typer.echo(
        f"{upload.accepted:,} rows were accepted and go on; to send the rest: the same command with"
        f" --batch-id {upload.batch_id}",
        err=True,
    )


def _count(file: str) -> int | None:
    """Count the rows before anything is sent, so that an unreadable file sends nothing."""
    if file == csv_rows.STDIN:
        return None
    rows = sum(1 for _ in csv_rows.read_rows(file, csv_rows.PROSPECTS))
    if not 0 < rows <= MAX_ROWS:
        raise typer.BadParameter(f"{file} has {rows:,} rows; a batch has 1 to {MAX_ROWS:,}")
    return rows


def _say_id(batch_id: str, as_json: bool) -> None:
    if as_json:
        print_json({"batch_id": batch_id})
    else:
        typer.echo(f"batch {batch_id}; to follow it: prospect enrich watch --batch {batch_id}")


def _micros(budget: str) -> int:
    return parse_dollars("--budget", budget) if budget else 0
