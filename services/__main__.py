"""The prospect command."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from chassis.embedded import EmbeddedError
from chassis.migrate import MigrationError
from chassis.settings import SettingsError
from services.activity.maintenance import MaintenanceError
from services.cli import activity, config, demo, dev, enrichment, events, migrate, sec, serve, usage
from services.dev import StackError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Activity log, prospect enrichment and usage metrics for B2B prospecting products.",
)
app.command("demo")(demo.demo)
app.command("dev")(dev.dev)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("config")(config.config)
app.add_typer(activity.app, name="activity")
app.add_typer(enrichment.app, name="enrich")
app.add_typer(usage.app, name="usage")
app.add_typer(events.app, name="events")
app.add_typer(sec.app, name="sec")


def main() -> None:
    """Run the command; what the user can mend is one clear line and exit code 2."""
    try:
        app()
    except (SettingsError, StackError, EmbeddedError, MigrationError, MaintenanceError) as error:
        Console(stderr=True).print(f"[red]prospect:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
