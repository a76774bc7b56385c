"""`prospect activity`: the log of your tenant, from the command line."""

from __future__ import annotations

import typer

from services.cli.activity import checkpoint, export, read, record, retention, tail, verify
from services.cli.terminal.shared_options import ACTIVITY, before_command

app = typer.Typer(
    callback=before_command(ACTIVITY),
    no_args_is_help=True,
    help="Record, read, follow, export and verify the activity log of your tenant.",
)
app.command("record")(record.record)
app.command("list")(read.list_)
app.command("get")(read.get)
app.command("count")(read.count)
app.command("tail")(tail.tail)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("checkpoint")(checkpoint.checkpoint)
app.command("erase")(retention.erase)
app.command("retention")(retention.retention)
app.command("partitions")(retention.partitions)
app.command("maintain")(retention.maintain)
