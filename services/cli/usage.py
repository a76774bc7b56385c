"""`prospect usage`: what your tenant's users did, counted, and the proof of it."""

from __future__ import annotations

import typer

from services.cli import (
    usage_audit,
    usage_export,
    usage_follow,
    usage_quota,
    usage_read,
    usage_zone,
)

app = typer.Typer(no_args_is_help=True)
app.command("show")(usage_read.show)
app.command("top")(usage_read.top)
app.command("summary")(usage_read.summary)
app.command("watch")(usage_follow.watch)
app.command("export")(usage_export.export)
app.command("verify")(usage_audit.verify)
app.command("rebuild")(usage_audit.rebuild)
app.command("zone")(usage_zone.zone)
app.add_typer(usage_quota.app, name="quota")


@app.callback()
def usage() -> None:
    """Read, follow, export, limit, verify and rebuild usage.

    Example: prospect usage show --from 7d
    """
