"""`prospect events`: publish an event to NATS, as a back end does."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from prospect.enrichment.v1 import events_pb2 as enrichment_events
from prospect.metrics.v1 import events_pb2 as metrics_events

from chassis import messaging
from chassis.identity.nats_login import Login
from chassis.messaging import OutgoingEvent
from chassis.validation import violations_of
from services import topology
from services.cli.operate.at_broker import CredentialsFile, NatsUrl, SeedFile, at_broker
from services.cli.terminal.screen import shown

app = typer.Typer(no_args_is_help=True, help="Publish events to NATS, as a back end does.")
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
    nats_url: NatsUrl = "",
    credentials_file: CredentialsFile = None,
    nkey_seed_file: SeedFile = None,
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
    # A publisher of one tenant hears answers below _INBOX_<tenant> alone.
    requested, _, tenant = subject.rpartition(".")
    at_broker(
        nats_url,
        Login(credentials_file, nkey_seed_file),
        lambda client: messaging.publish(client, event),
        "did not take the event",
        inbox=tenant if requested == topology.REQUESTED else "",
    )
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
