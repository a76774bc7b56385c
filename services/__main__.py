"""The prospect command."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import asyncpg
import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from chassis.errors import OperatorError
from chassis.postgres.refusals import without_values
from services.cli.activity import app as activity_app
from services.cli.enrich import app as enrich_app
from services.cli.enrich import sec
from services.cli.operate import broker, certs, config, events, migrate, serve, streams
from services.cli.stack import sources
from services.cli.stack.absent import TAKES_ANYTHING, absent
from services.cli.usage import app as usage_app


class _Prospect(TyperGroup):
    """Ends with one line and exit code 2 where whoever runs it can fix the cause.

    So it does, with exit code 1, where PostgreSQL refuses: a stack would quote the rows.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            _say(str(error))
            raise typer.Exit(2) from None
        except asyncpg.PostgresError as error:
            _say(f"PostgreSQL refused: {without_values(error)}")
            raise typer.Exit(1) from None


def _say(text: str) -> None:
    line = Text.assemble(("prospect:", "red"), f" {text}")
    Console(stderr=True).print(line, soft_wrap=True)


app = typer.Typer(
    cls=_Prospect,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Activity log, prospect enrichment and usage metrics for B2B prospecting products.",
)
if find_spec("devstack"):
    from services.cli.stack import demo, dev

    app.command("demo")(demo.demo)
    app.command("dev")(dev.dev)
else:  # as in the image
    app.command("demo", context_settings=TAKES_ANYTHING)(absent)
    app.command("dev", context_settings=TAKES_ANYTHING)(absent)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("config")(config.config)
app.add_typer(activity_app.app, name="activity")
app.add_typer(enrich_app.app, name="enrich")
app.add_typer(usage_app.app, name="usage")
app.add_typer(events.app, name="events")
app.add_typer(certs.app, name="certs")
app.add_typer(broker.app, name="nats")
app.add_typer(streams.app, name="streams")
app.add_typer(sec.app, name="sec")
app.add_typer(sources.app, name="sources")


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
