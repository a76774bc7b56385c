"""`prospect enrich sources|pause|resume`: the health of the sources, and pausing one."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.enrichment.v1 import operations_pb2 as pb
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub
from rich.console import Console

from services.cli.enrich import tables
from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.shared_options import ENRICHMENT, calls
from services.cli.terminal.times import UNTIL_HELP, parse_until
from services.enrichment.sources.catalogue import SourceName

Source = Annotated[SourceName, typer.Argument(help="The source.")]


@calls(ENRICHMENT)
def sources(
    client: Client,
) -> None:
    """Show each source: health, breaker and rate of the deployment; your spending since midnight.

    Example: prospect enrich sources
    """
    with client.calling(EnrichmentServiceStub) as stub:
        found = stub.ListSources(pb.ListSourcesRequest()).sources
    if client.as_json:
        for each in found:
            print_json(each)
    else:
        Console().print(tables.sources(found))


@calls(ENRICHMENT)
def pause(
    client: Client,
    source: Source,
    until: Annotated[
        str | None, typer.Option(help=f"When it resumes by itself: {UNTIL_HELP}.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Shown where steps wait for the source.")] = "",
) -> None:
    """Stop all calls to a source; its steps are parked meanwhile. Needs enrichment:operate.

    Example: prospect enrich pause exa --until 2h --reason "wrong answers, ticket 4711"
    """
    request = pb.PauseSourceRequest(
        source=source, until=parse_until("--until", until) if until else None, reason=reason
    )
    _change(client, request)


@calls(ENRICHMENT)
def resume(
    client: Client,
    source: Source,
) -> None:
    """Let a source be asked again, and close its breaker. Needs enrichment:operate.

    Example: prospect enrich resume exa
    """
    _change(client, pb.PauseSourceRequest(source=source, resume=True))


def _change(client: Client, request: pb.PauseSourceRequest) -> None:
    with client.calling(EnrichmentServiceStub) as stub:
        source = stub.PauseSource(request).source
    if client.as_json:
        print_json(source)
    else:
        Console().print(tables.sources([source]))
