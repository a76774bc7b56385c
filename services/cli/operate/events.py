"""`prospect events`: publish an event to NATS, as a back end does."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import nats.errors
import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from prospect.enrichment.v1 import events_pb2 as enrichment_events
from prospect.metrics.v1 import events_pb2 as metrics_events

from chassis import messaging
from chassis.broker.client import connect_once
from chassis.errors import Unavailable
from chassis.identity.certificates import PemFiles, client_context
from chassis.identity.nats_login import Login
from chassis.identity.secrets import masked
from chassis.messaging import OutgoingEvent
from chassis.settings import NatsFiles, SettingsError, load, read_secret
from chassis.validation import violations_of
from services import topology
from services.cli.terminal.screen import shown

app = typer.Typer(no_args_is_help=True, help="Publish events to NATS, as a back end does.")
NATS_URL, LOCAL = "PROSPECT_NATS_URL", "nats://127.0.0.1:4222"
MESSAGES: dict[str, type[Message]] = {
    topology.REQUESTED: enrichment_events.EnrichmentRequested,
    topology.AGGREGATE_DAILY: metrics_events.AggregateDaily,
}

SUBJECTS = ", ".join([*MESSAGES, f"{topology.REQUESTED}.<tenant>"])


@app.callback()
def events() -> None:
    """Publish events to NATS, as a back end does."""


@app.command("publish")
def publish(
    subject: Annotated[str, typer.Argument(help=f"One of: {SUBJECTS}.")],
    body: Annotated[str, typer.Argument(help="The message as JSON, fields as in the contract.")],
    nats_url: Annotated[
        str,
        typer.Option(
            help=f"Where NATS listens; else {NATS_URL}, {NATS_URL}_FILE, and {LOCAL} say it.",
            show_default=False,
        ),
    ] = "",
    credentials_file: Annotated[
        Path | None,
        typer.Option(envvar="PROSPECT_NATS_CREDENTIALS_FILE", help="Your .creds file for NATS."),
    ] = None,
    nkey_seed_file: Annotated[
        Path | None,
        typer.Option(envvar="PROSPECT_NATS_NKEY_SEED_FILE", help="Or the seed of your NKey."),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Check the message against the contract's rules first.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Publish one event and wait until the broker has it on disk.

    Examples:

      prospect events publish metrics.aggregate.daily '{"date": "2026-11-24"}'

      prospect events publish prospect.enrich.requested '{"prospect_id": "…", "tenant_id": "…",
      "user_id": "…", "name": "Katherine Adams", "company": "Apple Inc."}'
    """
    message = _parse(subject, body)
    violations = violations_of(message) if check else []
    if violations:
        for each in violations:
            typer.echo(shown(f"{each.field}: {each.message} ({each.rule})"), err=True)
        raise typer.Exit(2)
    event = OutgoingEvent.of(subject, message, os.environ.get("USER", "cli"))
    nats_url = nats_url or read_secret(NATS_URL, os.environ) or LOCAL
    try:
        asyncio.run(_publish(nats_url, Login(credentials_file, nkey_seed_file), event))
    except (OSError, nats.errors.Error, Unavailable) as error:
        text = f"NATS at {masked(nats_url)} did not take the event: {error}"
        raise SettingsError(text) from None
    result = {"subject": subject, "event_id": str(event.event_id)}
    typer.echo(json.dumps(result) if as_json else f"published {event.event_id} on {subject}")


def _parse(subject: str, body: str) -> Message:
    requested, _, tenant = subject.rpartition(".")
    kind = MESSAGES.get(requested if requested == topology.REQUESTED and tenant else subject)
    if kind is None:
        raise typer.BadParameter(f"subject must be one of: {SUBJECTS}")
    try:
        return json_format.Parse(body, kind())
    except json_format.ParseError as error:
        raise typer.BadParameter(f"body is not a {kind.DESCRIPTOR.full_name}: {error}") from None


async def _publish(url: str, login: Login, event: OutgoingEvent) -> None:
    # A publisher of one tenant hears answers below _INBOX_<tenant> alone.
    requested, _, tenant = event.subject.rpartition(".")
    inbox = tenant if requested == topology.REQUESTED else ""
    tls = client_context(PemFiles.of(load(NatsFiles), "nats"))
    connecting = connect_once(url, "prospect-cli", login, inbox=inbox, tls=tls)
    client = await asyncio.wait_for(connecting, 5)
    try:
        await messaging.publish(client, event)
    finally:
        await client.close()
