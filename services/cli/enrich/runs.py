"""`prospect enrich run|runs|prospects`: what was done, and what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, TypeVar

import typer
from google.protobuf.message import Message
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as rpc
from prospect.enrichment.v1 import prospect_pb2, runs_pb2
from rich.console import Console
from rich.table import Table

from services.cli.enrich import tables as show
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
    SourceName,
    Statuses,
    To,
    make_filter,
    parse_choice,
    parse_statuses,
)
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
from services.cli.terminal.times import TIME_HELP, parse_time

MOST_PAGE = 1_000
Item = TypeVar("Item", bound=Message)


def run(
    run_id: Annotated[str, typer.Argument(help="The run's UUID.")],
    as_json: AsJson = False,
    address: EnrichmentAddress = ENRICHMENT_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show a run's timeline: every call to a source, and what it waited for.

    Example: prospect enrich run 01938f2e-7a3b-7c00-8000-0123456789ab
    """
    with calling(address, token_file, ca_file) as call:
        found = get_run(call, run_id)
    if as_json:
        print_json(found)
    else:
        Console().print(show.run_live(found.run), show.attempts(found.attempts))


def runs(
    status: Statuses = None,
    prospect: OfProspect = "",
    batch: OfBatch = "",
    missing: Missing = None,
    error_class: ErrorClass = "",
    start: From = None,
    end: To = None,
    limit: Limit = 20,
    take_all: All = False,
    as_json: AsJson = False,
    address: EnrichmentAddress = ENRICHMENT_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """List runs, newest first.

    Examples:

      prospect enrich runs --status failed --from 1d

      prospect enrich runs --missing sec --error-class throttled --all --json
    """
    request = runs_pb2.ListRunsRequest(
        filter=make_filter(status, prospect, batch, missing, error_class, start, end)
    )
    with calling(address, token_file, ca_file) as call:
        stub = rpc.EnrichmentServiceStub(call.channel)

        def page() -> tuple[Iterable[prospect_pb2.Run], str]:
            answer = stub.ListRuns(request, metadata=call.metadata)
            return answer.runs, answer.next_page_token

        _print(_pages(page, request, None if take_all else limit), show.runs, as_json)


def prospects(
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
    as_json: AsJson = False,
    address: EnrichmentAddress = ENRICHMENT_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """List prospects, newest first.

    Examples:

      prospect enrich prospects --status complete --stale-before 30d

      prospect enrich prospects --source contactout --source-status not_found --all --json
    """
    if bool(source) != bool(source_status):
        raise typer.BadParameter("--source and --source-status go together")
    number = parse_choice("--source-status", source_status, SOURCE_STATUSES) if source else 0
    request = pb.ListProspectsRequest(
        statuses=parse_statuses(status),
        source=source or "",
        source_status=prospect_pb2.SourceStatus.ValueType(number),
        stale_before=parse_time("--stale-before", stale_before) if stale_before else None,
    )
    with calling(address, token_file, ca_file) as call:
        stub = rpc.EnrichmentServiceStub(call.channel)

        def page() -> tuple[Iterable[prospect_pb2.Prospect], str]:
            answer = stub.ListProspects(request, metadata=call.metadata)
            return answer.prospects, answer.next_page_token

        _print(_pages(page, request, None if take_all else limit), show.prospects, as_json)


def _pages(
    page: Callable[[], tuple[Iterable[Item], str]], request: Any, limit: int | None
) -> Iterator[Item]:
    """Yield what is listed page by page, at most `limit`."""
    left = limit
    while left is None or left > 0:
        request.page_size = MOST_PAGE if left is None else min(left, MOST_PAGE)
        items, request.page_token = page()
        for item in items:
            yield item
            left = None if left is None else left - 1
        if not request.page_token:
            return


def _print(items: Iterable[Item], table: Callable[[Iterable[Item]], Table], as_json: bool) -> None:
    if as_json:
        for item in items:
            print_json(item)
    else:
        Console().print(table(items))
