"""`prospect enrich one`: request one enrichment, follow it, show the prospect."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub
from rich.console import Console

from services.cli.enrich.follow import INTERRUPTED_EXIT, exit_code, follow_run, get_run, show_live
from services.cli.enrich.options import (
    PRIORITIES,
    Cik,
    Company,
    Email,
    Force,
    LinkedIn,
    NoWait,
    PriorityName,
    ProspectId,
    Public,
    make_request,
)
from services.cli.enrich.prospect_panel import prospect_panel
from services.cli.terminal.client import Client
from services.cli.terminal.dollars import parse_dollars
from services.cli.terminal.message_json import fields_of, print_json
from services.cli.terminal.shared_options import ENRICHMENT, calls
from services.enrichment.sources.catalogue import SourceName


@calls(ENRICHMENT)
def one(
    client: Client,
    name: Annotated[str, typer.Argument(help="The person's name.")],
    company: Company,
    title: Annotated[str, typer.Option(help="The person's job title.")] = "",
    email: Email = "",
    linkedin: LinkedIn = "",
    cik: Cik = "",
    public: Public = None,
    prospect_id: ProspectId = "",
    source: Annotated[
        list[SourceName] | None, typer.Option(help="Ask only this source; may be repeated.")
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="DOLLARS", help="The most that the run may spend, such as 0.50.")
    ] = "",
    priority: Annotated[
        PriorityName | None, typer.Option(help="Its priority among your own requests.")
    ] = None,
    force: Force = False,
    no_wait: NoWait = False,
) -> None:
    """Research one prospect: ask, follow the sources live, show what was found.

    Exit code 0 where the run is complete, 1 where it failed or was cancelled, 2 for bad input. A
    request for a prospect whose run is under way joins that run.

    Examples:

      prospect enrich one "Katherine Adams" --company "Apple Inc." --cik 320193

      prospect enrich one "Ada Lovelace" --company "Analytical Engines" --budget 0.50 --source exa

      prospect enrich one "Ada Lovelace" --company "Analytical Engines" --json | jq .run.cost_micros
    """
    request = make_request(name, company, email, linkedin, cik, public, prospect_id)
    request.title, request.force = title, force
    request.priority = PRIORITIES[priority]
    request.budget_micros = parse_dollars("--budget", budget) if budget else 0
    request.sources[:] = source or []
    with client.calling(EnrichmentServiceStub) as stub:
        answer = stub.RequestEnrichment(request)
        if no_wait:
            _print_accepted(answer, client.as_json)
            return
        run = _follow(stub, answer.run, client.as_json)
        prospect = stub.GetProspect(pb.GetProspectRequest(prospect_id=run.prospect_id)).prospect
    if client.as_json:
        print_json(_said(answer.joined, run, prospect))
    else:
        Console().print(prospect_panel(prospect))
    raise typer.Exit(exit_code(run))


def _follow(stub: EnrichmentServiceStub, run: prospect_pb2.Run, as_json: bool) -> prospect_pb2.Run:
    try:
        show_live(follow_run(stub, run.prospect_id), quiet=as_json)
        return get_run(stub, run.run_id).run
    except KeyboardInterrupt:
        typer.echo(f"\nthe run goes on: prospect enrich watch {run.prospect_id}", err=True)
        raise typer.Exit(INTERRUPTED_EXIT) from None


def _print_accepted(answer: pb.RequestEnrichmentResponse, as_json: bool) -> None:
    run = answer.run
    if as_json:
        print_json(_said(answer.joined, run, None))
    else:
        verb = "joined" if answer.joined else "accepted as"
        typer.echo(f"{verb} run {run.run_id}; follow it: prospect enrich watch {run.prospect_id}")


def _said(
    joined: bool, run: prospect_pb2.Run, prospect: prospect_pb2.Prospect | None
) -> dict[str, object]:
    found = fields_of(prospect) if prospect else None
    return {"joined": joined, "run": fields_of(run), "prospect": found}
