"""`prospect enrich retry|cancel|replay`: ask a source again, end a run, run failures again."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.enrichment.v1 import runs_pb2 as pb
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub

from services.cli.enrich.options import (
    ErrorClass,
    From,
    Missing,
    NoWait,
    OfBatch,
    OfProspect,
    Statuses,
    To,
    make_filter,
)
from services.cli.enrich.tables import run_status
from services.cli.enrich.watch import watch_batch
from services.cli.terminal.client import Client
from services.cli.terminal.dollars import dollars
from services.cli.terminal.message_json import print_json
from services.cli.terminal.shared_options import ENRICHMENT, calls
from services.enrichment.sources.catalogue import SourceName


@calls(ENRICHMENT)
def retry(
    client: Client,
    prospect_id: Annotated[str, typer.Argument(help="The prospect's UUID.")],
    source: Annotated[SourceName, typer.Argument(help="The source to ask again.")],
) -> None:
    """Ask one source again: in the run under way, else in a new one that keeps the other answers.

    Example: prospect enrich retry 01938f2e-7a3b-7c00-8000-0123456789ab sec
    """
    request = pb.RetrySourceRequest(prospect_id=prospect_id, source=source)
    with client.calling(EnrichmentServiceStub) as stub:
        run = stub.RetrySource(request).run
    if client.as_json:
        print_json(run)
    else:
        typer.echo(
            f"{source} is asked again in run {run.run_id}; follow it: prospect enrich watch"
            f" {prospect_id}"
        )


@calls(ENRICHMENT)
def cancel(
    client: Client,
    run_id: Annotated[str, typer.Argument(help="The run's UUID.")],
) -> None:
    """End a run: no further call is made; calls under way are waited for, since they are paid.

    Example: prospect enrich cancel 01938f2e-7a3b-7c00-8000-0123456789ab
    """
    with client.calling(EnrichmentServiceStub) as stub:
        run = stub.CancelRun(pb.CancelRunRequest(run_id=run_id)).run
    if client.as_json:
        print_json(run)
    else:
        waits = (
            "" if run.HasField("ended_at") else "; it ends when the calls under way have returned"
        )
        typer.echo(f"run {run.run_id} is {run_status(run)}{waits}")


@calls(ENRICHMENT)
def replay(
    client: Client,
    status: Statuses = None,
    prospect: OfProspect = "",
    batch: OfBatch = "",
    missing: Missing = None,
    error_class: ErrorClass = "",
    start: From = None,
    end: To = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="How many runs at most.")] = 1_000,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without, only say what would be done.")
    ] = False,
    no_wait: NoWait = False,
) -> None:
    """Run again what failed: the failed sources are asked anew, the others' answers are kept.

    Without --yes it only says what it would do and cost at the most; with it, the new runs are
    followed as a batch.

    Examples:

      prospect enrich replay --missing sec --error-class throttled --from 1d

      prospect enrich replay --batch 01938f2e-7a3b-7c00-8000-0123456789ab --yes
    """
    request = pb.ReplayRunsRequest(
        filter=make_filter(status, prospect, batch, missing, error_class, start, end),
        dry_run=not yes,
        most_runs=most,
    )
    with client.calling(EnrichmentServiceStub) as stub:
        answer = stub.ReplayRuns(request)
        _print_replay(answer, yes, client.as_json)
        if answer.batch_id and not no_wait:
            raise typer.Exit(watch_batch(stub, answer.batch_id, "", client.as_json))


def _print_replay(answer: pb.ReplayRunsResponse, yes: bool, as_json: bool) -> None:
    most = f"at most {dollars(answer.most_cost_micros)}"
    if as_json:
        print_json(answer)
    elif not yes:
        typer.echo(f"{answer.matched:,} would be run again, for {most}; --yes does it")
    elif answer.batch_id:
        typer.echo(
            f"{answer.replayed:,} of {answer.matched:,} are run again, for {most};"
            f" batch {answer.batch_id}"
        )
    else:
        typer.echo("nothing to run again")
