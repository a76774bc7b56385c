"""`prospect enrich`: prospects researched from the command line."""

from __future__ import annotations

import typer

from services.cli.enrich import batch, estimate, one, policy, runs, sources, steer, suppress, watch
from services.cli.terminal.shared_options import ENRICHMENT, before_command

app = typer.Typer(
    callback=before_command(ENRICHMENT),
    no_args_is_help=True,
    help="Research prospects, follow and steer their runs, keep to budgets.",
)
app.command("one")(one.one)
app.command("batch")(batch.batch)
app.command("watch")(watch.watch)
app.command("run")(runs.run)
app.command("runs")(runs.runs)
app.command("prospects")(runs.prospects)
app.command("sources")(sources.sources)
app.command("estimate")(estimate.estimate)
app.command("retry")(steer.retry)
app.command("cancel")(steer.cancel)
app.command("replay")(steer.replay)
app.command("pause")(sources.pause)
app.command("resume")(sources.resume)
app.add_typer(policy.app, name="policy")
app.command("suppress")(suppress.suppress)
app.command("unsuppress")(suppress.unsuppress)
app.command("erase")(suppress.erase)
