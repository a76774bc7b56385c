"""`prospect demo`: the main job, on screen, from recording to usage."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from devstack.stack import running
from services.cli.stack import story
from services.cli.stack.dev import Stop, addresses, raise_stop_on_sigterm, sources


def demo(
    state: Annotated[Path, typer.Option(help="Where data and logs are kept.")] = Path(
        ".state/demo"
    ),
    latency: Annotated[int, typer.Option(help="Milliseconds the sandbox takes to answer.")] = 600,
) -> None:
    """Start everything, run the main job on real filings, show the result, stop everything.

    Example: prospect demo
    """
    raise_stop_on_sigterm()
    console = Console()
    started = time.monotonic()
    try:
        console.rule("[bold]Prospect Platform")
        console.print("Starting PostgreSQL, NATS, the sources' sandbox and the three services …")
        with running(state.resolve(), latency_ms=latency) as stack:
            console.print(f"ready after {time.monotonic() - started:.1f} s\n")
            console.print(sources(stack), "\n")
            asyncio.run(story.tell(stack, console, uuid.uuid4()))
            console.print(addresses(stack))
        console.print(
            f"Done in {time.monotonic() - started:.0f} s; all of it is stopped again.\n"
            "Keep it running:  prospect dev   (fixed ports, a token, and how to call it)"
        )
    except (KeyboardInterrupt, Stop):
        console.print("stopped")
        raise typer.Exit(130) from None
