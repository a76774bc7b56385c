"""`prospect nats`: the broker's identities and what each may do there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated
from uuid import UUID

import nkeys
import typer

from chassis.identity.nats_login import public_key_of
from services import permissions
from services.cli.operate.services import ServiceName
from services.permissions import User

app = typer.Typer(no_args_is_help=True, help="Identities and permissions on NATS.")
PUBLIC_KEY = re.compile(r"U[A-Z2-7]{55}")


@app.callback()
def nats() -> None:
    """Identities and permissions on NATS."""


@app.command("key")
def key(
    file: Annotated[Path, typer.Argument(help="Where the secret seed goes; must not exist.")],
) -> None:
    """Make an NKey: write its seed to a file of mode 0600 and print its public half.

    Example: prospect nats key activity.nk
    """
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from None
    with open(descriptor, "wb") as opened:
        opened.write(bytes(seed) + b"\n")
    typer.echo(public_key_of(file))


@app.command("permissions")
def write_permissions(
    activity: Annotated[str, typer.Option(help="Public NKey of the activity service.")],
    enrichment: Annotated[str, typer.Option(help="Public NKey of the enrichment service.")],
    metrics: Annotated[str, typer.Option(help="Public NKey of the metrics service.")],
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="<tenant>=<public NKey> of who may ask for this tenant only."),
    ] = None,
    publisher: Annotated[
        list[str] | None,
        typer.Option(help="<name>=<public NKey> of who may ask for any tenant."),
    ] = None,
    operator: Annotated[
        list[str] | None, typer.Option(help="Public NKey of who may do everything.")
    ] = None,
    account: Annotated[
        str, typer.Option(help="Put the users into this account; else into the global one.")
    ] = "",
) -> None:
    """Print the nats-server configuration that lets each identity do what it needs, and no more.

    Public NKeys begin with U; `prospect nats key` makes one. Include the file in nats-server's:
    include "prospect.conf". A client's inbox prefix must be _INBOX_ and its name: of a tenant's
    publisher _INBOX_<tenant>.

    Examples:

      prospect nats permissions --activity UA… --enrichment UB… --metrics UC… > prospect.conf

      prospect nats permissions --activity UA… --enrichment UB… --metrics UC…
      --tenant 0192f0c1-0000-7000-8000-000000000001=UD… --publisher backend=UE… --operator UF…
    """
    keys = {"activity": activity, "enrichment": enrichment, "metrics": metrics}
    users = [
        User(each.value, _public(keys[each.value]), permissions.of_service(each.value))
        for each in ServiceName
    ]
    for name, nkey in map(_pair, tenant or ()):
        users.append(User(f"publisher of {name}", nkey, permissions.of_tenant(_tenant(name))))
    for name, nkey in map(_pair, publisher or ()):
        users.append(User(f"publisher {name}", nkey, permissions.of_publisher(name)))
    for nkey in operator or ():
        users.append(User("operator", _public(nkey), permissions.of_operator()))
    typer.echo(permissions.configuration(users, account), nl=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, nkey = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise typer.BadParameter(f"{text} must be <name>=<public NKey>")
    return name, _public(nkey)


def _public(nkey: str) -> str:
    if not PUBLIC_KEY.fullmatch(nkey):
        # It may be a seed, which is not repeated.
        raise typer.BadParameter("a public NKey of a user is U and 55 letters and digits")
    return nkey


def _tenant(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is not a tenant's UUID") from None
