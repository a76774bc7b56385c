"""`prospect enrich estimate`: what a request would do and cost, before anything is spent."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from prospect.enrichment.v1 import operations_pb2 as pb
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub
from rich.console import Console
from rich.table import Table

from services.cli.enrich import csv_rows, tables
from services.cli.enrich.options import (
    Cik,
    Company,
    Email,
    Force,
    LinkedIn,
    ProspectId,
    Public,
    as_estimated,
    make_request,
)
from services.cli.enrich.upload import MAX_ROWS
from services.cli.terminal.client import Client
from services.cli.terminal.dollars import dollars
from services.cli.terminal.message_json import print_json
from services.cli.terminal.screen import shown
from services.cli.terminal.shared_options import ENRICHMENT, calls


@calls(ENRICHMENT)
def estimate(
    client: Client,
    name: Annotated[str, typer.Argument(help="The person's name.")] = "",
    company: Company = "",
    email: Email = "",
    linkedin: LinkedIn = "",
    cik: Cik = "",
    public: Public = None,
    prospect_id: ProspectId = "",
    file: Annotated[
        str | None, typer.Option(metavar="FILE.csv", help="Estimate a batch; - is stdin.")
    ] = None,
    force: Force = False,
) -> None:
    """Show what a request would call, reuse or skip, and what it could cost at most.

    Examples:

      prospect enrich estimate "Katherine Adams" --company "Apple Inc." --cik 320193

      prospect enrich estimate --prospect-id 01938f2e-7a3b-7c00-8000-0123456789ab --force

      prospect enrich estimate --file prospects.csv
    """
    if file and (name or prospect_id):
        raise typer.BadParameter("give a person or --file, not both")
    if not (file or prospect_id or (name and company)):
        raise typer.BadParameter("give a name and --company, --prospect-id, or --file")
    one = make_request(name, company, email, linkedin, cik, public, prospect_id)
    wanted = _read(file) if file else [as_estimated(one)]
    request = pb.EstimateEnrichmentRequest(prospects=wanted, force=force)
    with client.calling(EnrichmentServiceStub) as stub:
        answer = stub.EstimateEnrichment(request)
    if client.as_json:
        print_json(answer)
    else:
        Console().print(_table(answer))
        typer.echo(_sentence(answer, len(wanted)))


def _read(file: str) -> list[pb.EstimatedProspect]:
    """Read a file of at most as many rows as a batch has."""
    wanted = []
    for row in islice(csv_rows.read_rows(file, csv_rows.PROSPECTS), MAX_ROWS + 1):
        request = csv_rows.request_of(row)
        if isinstance(request, csv_rows.Refused):
            raise typer.BadParameter(f"line {row.line}: {request.field}: {request.message}")
        wanted.append(as_estimated(request))
    if not 0 < len(wanted) <= MAX_ROWS:
        raise typer.BadParameter(f"{file} must have 1 to {MAX_ROWS:,} rows, as a batch has")
    return wanted


def _table(answer: pb.EstimateEnrichmentResponse) -> Table:
    table = Table("source")
    for heading in ("calls", "fresh", "skipped", "suppressed", "budget denied", "at most"):
        table.add_column(heading, justify="right")
    table.add_column("parked")
    for each in answer.sources:
        counts = (each.calls, each.fresh, each.skipped, each.suppressed, each.budget_denied)
        until = f"until {tables.moment(each.parked_until)}" if each.HasField("parked_until") else ""
        table.add_row(
            each.source,
            *(f"{count:,}" for count in counts),
            dollars(each.most_cost_micros),
            shown("; ".join(part for part in (until, each.parked_reason) if part)),
        )
    return table


def _sentence(answer: pb.EstimateEnrichmentResponse, asked: int) -> str:
    left = answer.left_today_micros
    budget = "no budget of the day" if left < 0 else f"{dollars(left)} left of the day's budget"
    flying = f"; {answer.in_flight:,} have a run under way" if answer.in_flight else ""
    prospects = "prospect" if asked == 1 else "prospects"
    most = dollars(answer.most_cost_micros)
    return f"{asked:,} {prospects}: at most {most}, retries aside; {budget}{flying}"
