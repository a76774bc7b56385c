"""`prospect enrich run|runs|prospects`: one run's timeline, and lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, TypeVar

import typer
from google.protobuf.message import Message
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2, runs_pb2
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub
from rich.console import Console
from rich.table import Table

from services.cli.enrich import tables
from services.cli.enrich.follow import get_run
from services.cli.enrich.options import (
    SOURCE_STATUSES,
    All,
    ErrorClass,
    From,
    Limit,
    Missing,
    OfBatch,
    OfProspect,
    Statuses,
    To,
    make_filter,
    parse_choice,
    parse_statuses,
)
from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.pages import page_size, pages
from services.cli.terminal.shared_options import ENRICHMENT, calls
from services.cli.terminal.times import TIME_HELP, parse_time
from services.enrichment.sources.catalogue import SourceName

Item = TypeVar("Item", bound=Message)


@calls(ENRICHMENT)
def run(
    client: Client,
    run_id: Annotated[str, typer.Argument(help="The run's UUID.")],
) -> None:
    """Show a run's timeline: every call to a source, and what it waited for.

    Example: prospect enrich run 01938f2e-7a3b-7c00-8000-0123456789ab
    """
    with client.calling(EnrichmentServiceStub) as stub:
        found = get_run(stub, run_id)
    if client.as_json:
        print_json(found)
    else:
        Console().print(tables.run_live(found.run), tables.attempts(found.attempts))


@calls(ENRICHMENT)
def runs(
    client: Client,
    status: Statuses = None,
    prospect: OfProspect = "",
    batch: OfBatch = "",
    missing: Missing = None,
    error_class: ErrorClass = "",
    start: From = None,
    end: To = None,
    limit: Limit = 20,
    take_all: All = False,
) -> None:
    """List runs, newest first.

    Examples:

      prospect enrich runs --status failed --from 1d

      prospect enrich runs --missing sec --error-class throttled --all --json
    """
    most = None if take_all else limit
    request = runs_pb2.ListRunsRequest(
        filter=make_filter(status, prospect, batch, missing, error_class, start, end),
        page_size=page_size(most),
    )
    with client.calling(EnrichmentServiceStub) as stub:
        found = pages(stub.ListRuns, request)
        listed = islice((each for page in found for each in page.runs), most)
        _print(listed, tables.runs, client.as_json)


@calls(ENRICHMENT)
def prospects(
    client: Client,
    status: Statuses = None,
    source: Annotated[
        SourceName | None, typer.Option(help="The source that --source-status is about.")
    ] = None,
    source_status: Annotated[
        str, typer.Option(help=f"What --source has come to: {', '.join(SOURCE_STATUSES)}.")
    ] = "",
    stale_before: Annotated[
        str | None, typer.Option(help=f"Last enriched before then, or never: {TIME_HELP}.")
    ] = None,
    limit: Limit = 20,
    take_all: All = False,
) -> None:
    """List prospects, newest first.

    Examples:

      prospect enrich prospects --status complete --stale-before 30d

      prospect enrich prospects --source contactout --source-status not_found --all --json
    """
    if bool(source) != bool(source_status):
        raise typer.BadParameter("--source and --source-status go together")
    number = parse_choice("--source-status", source_status, SOURCE_STATUSES) if source else 0
    most = None if take_all else limit
    request = pb.ListProspectsRequest(
        page_size=page_size(most),
        statuses=parse_statuses(status),
        source=source or "",
        source_status=prospect_pb2.SourceStatus.ValueType(number),
        stale_before=parse_time("--stale-before", stale_before) if stale_before else None,
    )
    with client.calling(EnrichmentServiceStub) as stub:
        found = pages(stub.ListProspects, request)
        listed = islice((each for page in found for each in page.prospects), most)
        _print(listed, tables.prospects, client.as_json)


def _print(items: Iterable[Item], table: Callable[[Iterable[Item]], Table], as_json: bool) -> None:
    if as_json:
        for item in items:
            print_json(item)
    else:
        Console().print(table(items))
