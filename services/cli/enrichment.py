"""`prospect enrich`: prospects researched from the command line."""

from __future__ import annotations

import typer

from services.cli import (
    enrichment_batch,
    enrichment_estimate,
    enrichment_keep,
    enrichment_one,
    enrichment_policy,
    enrichment_runs,
    enrichment_sources,
    enrichment_steer,
    enrichment_watch,
)

app = typer.Typer(
    no_args_is_help=True, help="Research prospects, follow and steer their runs, keep to budgets."
)
app.command("one")(enrichment_one.one)
app.command("batch")(enrichment_batch.batch)
app.command("watch")(enrichment_watch.watch)
app.command("run")(enrichment_runs.run)
app.command("runs")(enrichment_runs.runs)
app.command("prospects")(enrichment_runs.prospects)
app.command("sources")(enrichment_sources.sources)
app.command("estimate")(enrichment_estimate.estimate)
app.command("retry")(enrichment_steer.retry)
app.command("cancel")(enrichment_steer.cancel)
app.command("replay")(enrichment_steer.replay)
app.command("pause")(enrichment_sources.pause)
app.command("resume")(enrichment_sources.resume)
app.add_typer(enrichment_policy.app, name="policy")
app.command("suppress")(enrichment_keep.suppress)
app.command("unsuppress")(enrichment_keep.unsuppress)
app.command("erase")(enrichment_keep.erase)


@app.callback()
def enrich() -> None:
    """Research prospects, follow and steer their runs, keep to budgets."""
