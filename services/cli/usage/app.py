"""`prospect usage`: what your tenant's users did, counted, and the proof of it."""

from __future__ import annotations

import typer

from services.cli.terminal.shared_options import METRICS, before_command
from services.cli.usage import audit, export, quota, read, watch, zone

app = typer.Typer(
    callback=before_command(METRICS),
    no_args_is_help=True,
    help="Read, follow, export, limit, verify and rebuild usage.",
    epilog="Example: prospect usage show --from 7d",
)
app.command("show")(read.show)
app.command("top")(read.top)
app.command("summary")(read.summary)
app.command("watch")(watch.watch)
app.command("export")(export.export)
app.command("verify")(audit.verify)
app.command("rebuild")(audit.rebuild)
app.command("zone")(zone.zone)
app.add_typer(quota.app, name="quota")
