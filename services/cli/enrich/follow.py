"""Following a run or a batch to its end, also when the connection breaks."""

from __future__ import annotations

from collections.abc import Iterator

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2, runs_pb2
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub
from rich.console import Console
from rich.live import Live

from services.cli.enrich import tables
from services.cli.terminal.client import NOT_FOUND_EXIT
from services.cli.terminal.resume import resuming

INTERRUPTED_EXIT = 130
Update = tuple[pb.WatchEnrichmentResponse, prospect_pb2.Run]


def follow_run(
    stub: EnrichmentServiceStub,
    prospect_id: str,
    resume_token: str = "",
    *,
    until_settled: bool = False,
) -> Iterator[Update]:
    """Yield each message about a prospect's newest run, and the run as it then stands."""
    run: prospect_pb2.Run | None = None

    def watch(resume_token: str) -> Iterator[pb.WatchEnrichmentResponse]:
        request = pb.WatchEnrichmentRequest(
            prospect_id=prospect_id, resume_token=resume_token, until_settled=until_settled
        )
        return stub.WatchEnrichment(request)

    for message in resuming(watch, resume_token):
        if message.HasField("snapshot"):
            run = message.snapshot
        else:
            if run is None or run.run_id != message.change.run_id:
                run = get_run(stub, message.change.run_id).run
            apply(run, message.change)
        yield message, run


def follow_batch(
    stub: EnrichmentServiceStub, batch_id: str, resume_token: str = ""
) -> Iterator[pb.WatchBatchResponse]:
    """Yield each message about a batch until its last run has ended."""

    def watch(resume_token: str) -> Iterator[pb.WatchBatchResponse]:
        request = pb.WatchBatchRequest(batch_id=batch_id, resume_token=resume_token)
        return stub.WatchBatch(request)

    return resuming(watch, resume_token)


def get_run(stub: EnrichmentServiceStub, run_id: str) -> runs_pb2.GetRunResponse:
    """Return a run with its calls."""
    return stub.GetRun(runs_pb2.GetRunRequest(run_id=run_id))


def newest_run(stub: EnrichmentServiceStub, prospect_id: str) -> prospect_pb2.Run:
    """Return a prospect's newest run."""
    request = pb.GetProspectRequest(prospect_id=prospect_id)
    found = stub.GetProspect(request).prospect
    return get_run(stub, found.run_id).run


def apply(run: prospect_pb2.Run, change: pb.RunChange) -> None:
    """Apply a change to a run."""
    run.status = change.status
    changed = {step.source: step for step in change.steps}
    for step in run.steps:
        if step.source in changed:
            step.CopyFrom(changed[step.source])
    run.missing[:] = change.missing


def show_live(updates: Iterator[Update], *, quiet: bool) -> prospect_pb2.Run | None:
    """Show a run as it changes; return it as it ended, or None where there is no update."""
    console = Console(quiet=quiet)
    first = next(updates, None)  # a refusal comes before there is anything to show
    if first is None:
        return None
    run = first[1]
    with Live(console=console, refresh_per_second=8, get_renderable=lambda: tables.run_live(run)):
        for _, newer in updates:
            run = newer
    console.print()
    return run


def exit_code(run: prospect_pb2.Run) -> int:
    """Return 0 for a run that is complete, 1 for any other."""
    complete = run.status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE
    return 0 if complete else NOT_FOUND_EXIT
