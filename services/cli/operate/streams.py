"""`prospect streams`: the broker's streams and consumers, as declared and as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chassis.broker import streams as broker
from chassis.broker.streams import MISSING, Difference, with_limits
from chassis.identity.nats_login import Login
from chassis.messaging import Consumer, Stream
from chassis.settings import StreamSettings, load
from services import topology
from services.cli.operate.at_broker import CredentialsFile, NatsUrl, SeedFile, at_broker
from services.cli.operate.services import ServiceName

app = typer.Typer(no_args_is_help=True, help="Streams and consumers on NATS.")
DIFFERING_EXIT = 1
FAILED = "did not do it"
NANOSECONDS = frozenset({"max_age", "duplicate_window", "ack_wait"})
Names = Annotated[
    list[ServiceName] | None, typer.Argument(help="Whose; those of all services by default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")]


@app.callback()
def streams() -> None:
    """Streams and consumers on NATS."""


@app.command("diff")
def diff(
    names: Names = None,
    nats_url: NatsUrl = "",
    credentials_file: CredentialsFile = None,
    nkey_seed_file: SeedFile = None,
    as_json: AsJson = False,
) -> None:
    """Show where streams and consumers are not as declared; exit code 1 where one is not.

    PROSPECT_NATS_STREAM_REPLICAS, PROSPECT_NATS_STREAM_MAX_MB and the others are part of what is
    declared: set them as the services have them. What we do not declare is not shown.

    Examples:

      prospect streams diff

      PROSPECT_NATS_STREAM_REPLICAS=3 prospect streams diff activity --json
    """
    login = Login(credentials_file, nkey_seed_file)
    differing = at_broker(
        nats_url, login, lambda client: broker.differences(client, *_declared(names)), FAILED
    )
    _show(differing, as_json)
    raise typer.Exit(DIFFERING_EXIT if differing else 0)


@app.command("apply")
def apply(
    names: Names = None,
    nats_url: NatsUrl = "",
    credentials_file: CredentialsFile = None,
    nkey_seed_file: SeedFile = None,
    as_json: AsJson = False,
) -> None:
    """Set streams and consumers as declared, make the missing ones, and show what has changed.

    What we do not declare, such as a description, stays as it is. The broker does not change some
    settings, such as a stream's retention: then it says so.

    Examples:

      prospect streams apply

      PROSPECT_NATS_STREAM_REPLICAS=3 prospect streams apply activity
    """

    async def work(client: Client) -> list[Difference]:
        declared = _declared(names)
        before = await broker.differences(client, *declared)
        await broker.apply(client, *declared)
        return before

    _show(at_broker(nats_url, Login(credentials_file, nkey_seed_file), work, FAILED), as_json)


def _declared(names: list[ServiceName] | None) -> tuple[list[Stream], list[Consumer]]:
    limits = load(StreamSettings)
    parts = [topology.SERVICES[each.value] for each in names or ServiceName]
    return (
        [with_limits(stream, limits) for part in parts for stream in part.owns],
        [consumer for part in parts for consumer in part.consumers],
    )


def _show(differing: list[Difference], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in differing], indent=2))
        return
    if not differing:
        typer.echo("all as declared")
        return
    table = Table("", "setting", "on the broker", "declared")
    for each in differing:
        table.add_row(*map(Text, _row(each)))
    Console().print(table)


def _row(each: Difference) -> Iterator[str]:
    yield f"{each.kind} {each.name}"
    yield each.setting
    yield "" if each.setting == MISSING else _value(each.setting, each.found)
    yield "" if each.setting == MISSING else _value(each.setting, each.declared)


def _value(setting: str, value: Any) -> str:
    if setting in NANOSECONDS and isinstance(value, int):
        return f"{value / 10**9:g} s"
    return value if isinstance(value, str) else json.dumps(value)
