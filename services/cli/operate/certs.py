"""`prospect certs`: certificates for development."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from services.cli.operate.dev_certificates import Authority

FOLDER = Path(".state/certs")
HOSTS = (
    "localhost", "127.0.0.1", "::1", "activity", "enrichment", "metrics", "postgres", "nats",
)  # fmt: skip
SERVICES = ("prospect-activity", "prospect-enrichment", "prospect-metrics")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ADDRESS = re.compile(r"[0-9a-fA-F:]+")  # of IPv6
HELP = "Make certificates for development; those of production come from your own authority."
app = typer.Typer(no_args_is_help=True, help=HELP)


@app.callback()
def certs() -> None:
    """Make certificates for development; those of production come from your own authority."""


@app.command("dev")
def dev(
    folder: Annotated[Path, typer.Argument(help="Where they are written.")] = FOLDER,
    host: Annotated[
        list[str] | None,
        typer.Option(help=f"Name or address of a server, beside {', '.join(HOSTS)}; repeatable."),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option(help=f"Name of a client, beside {', '.join(SERVICES)}; repeatable."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="For how long they are good.")] = 365,
) -> None:
    """Write an authority, a server's certificate and clients' certificates, each with its key.

    An authority that is there signs the new ones, so who trusts it goes on: run this again to try
    how a service takes a changed certificate. Only the owner can read the keys.

    Examples:

      prospect certs dev

      prospect certs dev /tmp/certs --host db.example --client crm-back-end --days 30
    """
    _refuse_names([*(host or ()), *(client or ())])
    lifetime = timedelta(days=days)
    authority = Authority.in_folder(folder, lifetime)
    authority.issue("server", [*HOSTS, *(host or ())], lifetime)
    clients = [*SERVICES, *(client or ())]
    for name in clients:
        authority.issue(name, [name], lifetime)
    files = ", ".join(f"{name}.pem" for name in ("ca", "server", *clients))
    typer.echo(
        f"{files} and their keys (…-key.pem) are in {folder}. A service serves with them by:"
    )
    typer.echo(f"\n{_settings(folder.resolve())}")


def _refuse_names(names: Sequence[str]) -> None:
    for name in names:
        if not (_NAME.fullmatch(name) or _ADDRESS.fullmatch(name)):
            raise typer.BadParameter(f"{name!r} is neither a name nor an address")


def _settings(folder: Path) -> str:
    """Return the settings of a service that serves TLS and knows metrics by its certificate."""
    named = {
        "PROSPECT_TLS_CERTIFICATE_FILE": folder / "server.pem",
        "PROSPECT_TLS_KEY_FILE": folder / "server-key.pem",
        "PROSPECT_TLS_CLIENT_CA_FILE": folder / "ca.pem",
        "PROSPECT_SERVICE_CALLERS": "prospect-metrics=activity:audit",
    }
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in named.items()]
    return "\n".join(lines)
