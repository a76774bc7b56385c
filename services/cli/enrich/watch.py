"""`prospect enrich watch`: a run or a batch, followed to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NoReturn

import typer
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub

from services.cli.enrich.batch_progress import batch_exit_code, print_summary, shown_batch
from services.cli.enrich.follow import (
    INTERRUPTED_EXIT,
    Update,
    exit_code,
    follow_batch,
    follow_run,
    newest_run,
    show_live,
)
from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.shared_options import ENRICHMENT, calls


@calls(ENRICHMENT)
def watch(
    client: Client,
    prospect_id: Annotated[str, typer.Argument(help="UUID of a prospect.")] = "",
    batch: Annotated[str, typer.Option(help="UUID of a batch, instead of a prospect.")] = "",
    resume: Annotated[
        str,
        typer.Option(
            help="The resume token of an earlier watch: show only what has changed since."
        ),
    ] = "",
    until_settled: Annotated[
        bool,
        typer.Option(
            "--until-settled",
            help="Go on after the run's end while a late source may still add to it.",
        ),
    ] = False,
) -> None:
    """Follow a prospect's newest run, or a batch, to its end; a broken connection is resumed.

    Exit code 0 where every run is complete, 1 where one failed or was cancelled.

    Examples:

      prospect enrich watch 01938f2e-7a3b-7c00-8000-0123456789ab

      prospect enrich watch --batch 01938f2e-7a3b-7c00-8000-0123456789ab --json
    """
    if bool(prospect_id) == bool(batch):
        raise typer.BadParameter("give a prospect's UUID or --batch")
    with client.calling(EnrichmentServiceStub) as stub:
        if batch:
            code = watch_batch(stub, batch, resume, client.as_json)
        else:
            code = _watch_run(stub, prospect_id, resume, until_settled, client.as_json)
    raise typer.Exit(code)


def watch_batch(
    stub: EnrichmentServiceStub, batch_id: str, resume_token: str, as_json: bool
) -> int:
    """Follow a batch to its end; return the exit code that it makes."""
    last = resume_token
    progress = None
    try:
        for message in shown_batch(follow_batch(stub, batch_id, resume_token), quiet=as_json):
            last, progress = message.resume_token, message.progress
            if as_json:
                print_json(message)
    except KeyboardInterrupt:
        again = f"prospect enrich watch --batch {batch_id}"
        _say_how_to_resume("the batch", again, last)
    if progress is None:  # everything was shown before the token
        return 0
    if not as_json:
        print_summary(progress)
    return batch_exit_code(progress)


def _watch_run(
    stub: EnrichmentServiceStub,
    prospect_id: str,
    resume_token: str,
    until_settled: bool,
    as_json: bool,
) -> int:
    last = resume_token

    def told() -> Iterator[Update]:
        nonlocal last
        for message, run in follow_run(
            stub, prospect_id, resume_token, until_settled=until_settled
        ):
            last = message.resume_token
            if as_json:
                print_json(message)
            yield message, run

    try:
        run = show_live(told(), quiet=as_json) or newest_run(stub, prospect_id)
    except KeyboardInterrupt:
        _say_how_to_resume("the run", f"prospect enrich watch {prospect_id}", last)
    return exit_code(run)


def _say_how_to_resume(what: str, command: str, resume_token: str) -> NoReturn:
    resume = f" --resume {resume_token}" if resume_token else ""
    typer.echo(f"\n{what} goes on: {command}{resume}", err=True)
    raise typer.Exit(INTERRUPTED_EXIT)
