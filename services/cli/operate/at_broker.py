"""How a command reaches the broker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import nats.errors
import typer
from nats.aio.client import Client

from chassis.broker.client import connect_once
from chassis.errors import Unavailable
from chassis.identity.certificates import PemFiles, client_context
from chassis.identity.nats_login import Login
from chassis.identity.secrets import masked
from chassis.settings import NatsFiles, SettingsError, load, read_secret

T = TypeVar("T")
VARIABLE, LOCAL = "PROSPECT_NATS_URL", "nats://127.0.0.1:4222"
CONNECT_SECONDS = 5
NatsUrl = Annotated[
    str,
    typer.Option(
        help=f"Where NATS listens; else {VARIABLE}, {VARIABLE}_FILE, and {LOCAL} say it.",
        show_default=False,
    ),
]
CredentialsFile = Annotated[
    Path | None,
    typer.Option(envvar="PROSPECT_NATS_CREDENTIALS_FILE", help="Your .creds file for NATS."),
]
SeedFile = Annotated[
    Path | None,
    typer.Option(envvar="PROSPECT_NATS_NKEY_SEED_FILE", help="Or the seed of your NKey."),
]


def at_broker(
    url: str, login: Login, work: Callable[[Client], Awaitable[T]], failed: str, inbox: str = ""
) -> T:
    """Connect, work and end; raise SettingsError where that fails, saying that NATS `failed`."""
    url = url or read_secret(VARIABLE, os.environ) or LOCAL
    try:
        return asyncio.run(_connected(url, login, work, inbox))
    except (OSError, nats.errors.Error, Unavailable) as error:
        raise SettingsError(f"NATS at {masked(url)} {failed}: {error}") from None


async def _connected(
    url: str, login: Login, work: Callable[[Client], Awaitable[T]], inbox: str
) -> T:
    tls = client_context(PemFiles.of(load(NatsFiles), "nats"))
    connecting = connect_once(url, "prospect-cli", login, inbox=inbox, tls=tls)
    client = await asyncio.wait_for(connecting, CONNECT_SECONDS)
    try:
        return await work(client)
    finally:
        await client.close()
