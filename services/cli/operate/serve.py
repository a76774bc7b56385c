"""`prospect serve`: one service in this process, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer
import uvloop

from chassis import service
from chassis.settings import load, refuse_unknown
from chassis.telemetry import configure_logging
from services.cli.operate.services import ServiceName, known_variables, settings_of, wiring_of


def serve(
    name: Annotated[ServiceName, typer.Argument(help="Which service to serve.")],
) -> None:
    """Serve one service until SIGTERM, configured by PROSPECT_ variables.

    Example: prospect serve activity
    """
    refuse_unknown(os.environ, known_variables())
    settings = load(settings_of(name))
    wiring = wiring_of(name)
    configure_logging(name.value, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            service.run(
                name.value,
                settings,
                wiring.topology,
                lambda foundation: wiring.build(foundation, settings),
            )
        )
