"""`prospect dev`: the whole stack, kept running."""

from __future__ import annotations

import signal
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chassis.identity.secrets import private
from devstack.stack import Stack, StackError, credential_variable, running
from services.enrichment.sources.catalogue import SourceName

TENANT = uuid.UUID("0192f0c1-0000-7000-8000-000000000001")
USER = uuid.UUID("0192f0c1-0000-7000-8000-0000000000aa")


class Stop(BaseException):
    """SIGTERM arrived."""


def dev(
    state: Annotated[Path, typer.Option(help="Where data, keys and logs are kept.")] = Path(
        ".state/dev"
    ),
    latency: Annotated[int, typer.Option(help="Milliseconds the sandbox takes to answer.")] = 200,
) -> None:
    """Run PostgreSQL, NATS, the sandbox and the three services until Ctrl-C.

    gRPC reflection is on. The token for the development tenant is printed and kept in the state
    folder (`token`). Data survive a restart; `rm -r .state/dev` begins anew.

    Example: prospect dev
    """
    raise_stop_on_sigterm()
    console = Console()
    try:
        with running(state.resolve(), fixed_ports=True, latency_ms=latency) as stack:
            token = stack.token(TENANT, USER)
            with open(stack.folder / "token", "w", opener=private) as file:
                file.write(token)
            console.print(addresses(stack))
            console.print(f"[bold]Development token[/] (tenant {TENANT}, 12 h):\n{token}\n",
                          soft_wrap=True, highlight=False)  # fmt: skip
            console.print(_how_to_call(stack), highlight=False, soft_wrap=True)
            _watch(stack)
    except (KeyboardInterrupt, Stop):
        console.print("stopped")


def addresses(stack: Stack) -> Table:
    """Return where everything runs, as a table."""
    table = Table("part", title="Where everything runs", title_justify="left")
    table.add_column("address", overflow="fold")  # a part of an address is no use
    for name, address in stack.addresses.items():
        table.add_row(f"{name} (gRPC)", address)
    table.add_row("NATS", stack.nats_url)
    table.add_row("PostgreSQL", stack.postgres.dsn())
    table.add_row("sources' sandbox", stack.sandbox_url)
    table.add_row("logs", str(stack.folder / "logs"))
    return table


def sources(stack: Stack) -> str:
    """Say which sources are live and which keys would make the others so."""
    sandboxed = stack.sandboxed()
    live = [name for name in SourceName if name not in sandboxed]
    lines = [f"Asked for real: {', '.join(live)}."] if live else []
    if sandboxed:
        lines.append(
            f"[yellow]Answered by the sandbox, not by the vendor: {', '.join(sandboxed)}.[/] "
            "To ask the vendor, set: "
            + ", ".join(f"{credential_variable(name)} ({name})" for name in sandboxed)
            + "."
        )
    return "\n".join(lines)


def _how_to_call(stack: Stack) -> str:
    call = (
        "buf curl --protocol grpc --http2-prior-knowledge "
        f'-H "authorization: Bearer $(cat {stack.folder}/token)" '
        f"-d '{{\"page_size\": 5}}' http://{stack.addresses['activity']}"
        "/prospect.activity.v1.ActivityService/ListActivities"
    )
    return f"[bold]Call it[/] (reflection is on):\n{call}\n\n{sources(stack)}\nCtrl-C stops all."


def _watch(stack: Stack) -> None:
    """Wait; a service that ends by itself ends the stack, with its name."""
    while True:
        for name, process in stack.processes.items():
            if process.poll() is not None:
                raise StackError(f"{name} has ended; see {stack.folder / 'logs'}/{name}.log")
        time.sleep(0.5)


def raise_stop_on_sigterm() -> None:
    """Have SIGTERM raise Stop where the process waits, so that the stack is stopped in order."""

    def raise_stop(number: int, frame: object) -> None:
        raise Stop

    signal.signal(signal.SIGTERM, raise_stop)
