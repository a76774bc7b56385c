"""The progress of a batch: a bar on the terminal, and one line at its end."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.cli.terminal.client import NOT_FOUND_EXIT
from services.cli.terminal.dollars import dollars


def bar(*, quiet: bool) -> Progress:
    """Return a bar with the counts of a batch's runs; it shows only on a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def shown_batch(
    messages: Iterator[pb.WatchBatchResponse], *, quiet: bool
) -> Iterator[pb.WatchBatchResponse]:
    """Yield the messages, and show the batch's progress."""
    with bar(quiet=quiet) as progress:
        task = progress.add_task("runs", total=None, counts="")
        for message in messages:
            said = message.progress
            progress.update(task, total=said.total, completed=_ended(said), counts=_counts(said))
            yield message


def print_summary(said: pb.BatchProgress) -> None:
    """Print how a batch's runs have ended."""
    typer.echo(f"batch {said.batch_id}: {_ended(said):,} of {said.total:,} ended; {_counts(said)}")


def batch_exit_code(said: pb.BatchProgress) -> int:
    """Return 0 where every run is complete, 1 where one is not."""
    return 0 if said.complete == said.total else NOT_FOUND_EXIT


def _ended(said: pb.BatchProgress) -> int:
    return said.complete + said.failed + said.cancelled


def _counts(said: pb.BatchProgress) -> str:
    counts = [
        f"{getattr(said, name):,} {name.replace('_', ' ')}"
        for name in ("complete", "failed", "cancelled", "in_progress", "pending")
        if getattr(said, name)
    ]
    return ", ".join([*counts, dollars(said.cost_micros)])
