"""The prospect command."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from chassis.errors import OperatorError
from services.cli import activity, config, enrichment, events, migrate, sec, serve, usage


class _Prospect(TyperGroup):
    """Ends with one line and exit code 2 where whoever runs it can fix the cause."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            text = f"[red]prospect:[/] {error}"
            Console(stderr=True).print(text, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Prospect,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Activity log, prospect enrichment and usage metrics for B2B prospecting products.",
)
if find_spec("devstack"):  # the image has none
    from services.cli import demo, dev

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
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
