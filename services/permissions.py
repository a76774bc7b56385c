"""What each identity may do on the broker, as follows from the topology, and nothing else.

A service publishes its events and hints, asks JetStream for its streams and consumers, acknowledges
what these bring, and makes dead letters of it. It listens to its hints and to answers to itself. A
publisher from outside asks for enrichments of one tenant. Nobody else may publish anything.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.broker.client import inbox_prefix
from chassis.messaging import DEAD_LETTER_PREFIX, Topology
from services import topology

API = "$JS.API"


@dataclass(frozen=True, slots=True)
class Permissions:
    """The subjects that an identity may publish on, and those that it may subscribe to."""

    publish: Sequence[str]
    subscribe: Sequence[str]


@dataclass(frozen=True, slots=True)
class User:
    """An identity: its name, the public half of its NKey, and what it may do."""

    name: str
    nkey: str
    permissions: Permissions


def of_service(name: str) -> Permissions:
    """Return what a service needs."""
    part = topology.SERVICES[name]
    publish = [*part.publishes, *_streams(part), *_consumers(part), *_consumed(part)]
    subscribe = [*part.hears, f"{inbox_prefix(f'prospect-{name}')}.>"]
    return Permissions(list(dict.fromkeys(publish)), subscribe)


def of_tenant(tenant_id: UUID) -> Permissions:
    """Return what a publisher from outside needs, who asks for enrichments of one tenant."""
    return Permissions([f"{topology.REQUESTED}.{tenant_id}"], [f"{inbox_prefix(str(tenant_id))}.>"])


def of_publisher(name: str) -> Permissions:
    """Return what a trusted publisher needs, who asks for any tenant."""
    subjects = [topology.REQUESTED, topology.REQUESTED_BY_TENANT, topology.AGGREGATE_DAILY]
    return Permissions(subjects, [f"{inbox_prefix(name)}.>"])


def of_operator() -> Permissions:
    """Return what an operator needs, who puts dead letters back and mends streams: everything."""
    return Permissions([">"], [">"])


def configuration(users: Sequence[User], account: str = "", anonymous: str = "") -> str:
    """Return the part of nats-server's configuration that lets these users in, and nobody else.

    With `anonymous`, a name for them, those without a key may do everything: for development.
    """
    entries = "".join(_entry(each) for each in users)
    if account:
        inside = f"    jetstream: enabled\n    users: [\n{entries}    ]\n"
        return f"accounts {{\n  {json.dumps(account)}: {{\n{inside}  }}\n}}\n"
    if anonymous:
        entries += f'    {{ user: {anonymous}, password: "{secrets.token_hex()}" }}\n'
    whoever = f"no_auth_user: {anonymous}\n" if anonymous else ""
    return f"authorization {{\n  users: [\n{entries}  ]\n}}\n{whoever}"


def _streams(part: Topology) -> Iterator[str]:
    for stream in (*part.owns, *part.needs):
        yield f"{API}.STREAM.INFO.{stream.name}"
        yield f"{API}.STREAM.CREATE.{stream.name}"
    for stream in part.owns:
        yield f"{API}.STREAM.UPDATE.{stream.name}"
    for name in part.looks_up:
        yield f"{API}.STREAM.MSG.GET.{name}"
    for name in part.deletes_from:
        yield f"{API}.STREAM.MSG.DELETE.{name}"
    for name, subject in part.tails:
        yield f"{API}.CONSUMER.CREATE.{name}.*.{subject}"
        yield f"{API}.CONSUMER.MSG.NEXT.{name}.*"
        yield f"{API}.CONSUMER.DELETE.{name}.*"


def _consumers(part: Topology) -> Iterator[str]:
    for each in part.consumers:
        yield f"{API}.CONSUMER.CREATE.{each.stream}.{each.name}.{each.subject}"
        yield f"{API}.CONSUMER.INFO.{each.stream}.{each.name}"
        yield f"{API}.CONSUMER.MSG.NEXT.{each.stream}.{each.name}"
        yield f"$JS.ACK.{each.stream}.{each.name}.>"
        yield f"{DEAD_LETTER_PREFIX}.{each.subject}"


def _consumed(part: Topology) -> Iterator[str]:
    """Yield where it asks whether what it published is there still, and was handled."""
    for each in part.consumed_by:
        yield f"{API}.CONSUMER.INFO.{each.stream}.{each.name}"
        yield f"{API}.STREAM.MSG.GET.{each.stream}"


def _entry(user: User) -> str:
    lines = [
        f"    # {user.name}",
        f"    {{ nkey: {user.nkey}",
        "      permissions: {",
        f"        publish: {{ allow: {_list(user.permissions.publish)} }}",
        f"        subscribe: {{ allow: {_list(user.permissions.subscribe)} }}",
        "      } }",
    ]
    return "\n".join(lines) + "\n"


def _list(subjects: Sequence[str]) -> str:
    return "[\n" + "".join(f'          "{each}"\n' for each in subjects) + "        ]"
