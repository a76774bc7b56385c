"""`prospect enrich sources|pause|resume`: the health of the sources, and leaving one alone."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as rpc
from prospect.enrichment.v1 import operations_pb2 as pb
from rich.console import Console

from services.cli.enrich import tables as show
from services.cli.enrich.options import SourceName
from services.cli.terminal.client import (
    ENRICHMENT_ADDRESS,
    TOKEN_FILE,
    AsJson,
    CaFile,
    EnrichmentAddress,
    TokenFile,
    calling,
)
from services.cli.terminal.message_json import print_json
from services.cli.terminal.times import UNTIL_HELP, parse_until

Source = Annotated[SourceName, typer.Argument(help="The source.")]


def sources(
    as_json: AsJson = False,
    address: EnrichmentAddress = ENRICHMENT_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show each source: health, breaker and rate of the deployment; your spending since midnight.

    Example: prospect enrich sources
    """
    with calling(address, token_file, ca_file) as call:
        stub = rpc.EnrichmentServiceStub(call.channel)
        found = stub.ListSources(pb.ListSourcesRequest(), metadata=call.metadata).sources
    if as_json:
        for each in found:
            print_json(each)
    else:
        Console().print(show.sources(found))


def pause(
    source: Source,
    until: Annotated[
        str | None, typer.Option(help=f"When it goes on by itself: {UNTIL_HELP}.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Shown to all who wait.")] = "",
    as_json: AsJson = False,
    address: EnrichmentAddress = ENRICHMENT_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Keep every replica from asking a source; steps wait meanwhile. Needs enrichment:operate.

    Example: prospect enrich pause exa --until 2h --reason "wrong answers, ticket 4711"
    """
    request = pb.PauseSourceRequest(
        source=source, until=parse_until("--until", until) if until else None, reason=reason
    )
    _change(request, as_json, address, token_file, ca_file)


def resume(
    source: Source,
    as_json: AsJson = False,
    address: EnrichmentAddress = ENRICHMENT_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Let a source be asked again, and close its breaker. Needs enrichment:operate.

    Example: prospect enrich resume exa
    """
    _change(
        pb.PauseSourceRequest(source=source, resume=True), as_json, address, token_file, ca_file
    )


def _change(
    request: pb.PauseSourceRequest,
    as_json: bool,
    address: str,
    token_file: TokenFile,
    ca_file: CaFile,
) -> None:
    with calling(address, token_file, ca_file) as call:
        stub = rpc.EnrichmentServiceStub(call.channel)
        source = stub.PauseSource(request, metadata=call.metadata).source
    if as_json:
        print_json(source)
    else:
        Console().print(show.sources([source]))
