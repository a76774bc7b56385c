"""The broker lets each identity do what it needs and refuses all else, subject by subject."""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import nkeys
import pytest
from nats.aio.client import Client

from chassis.broker.client import connect, connect_once
from chassis.broker.streams import ensure
from chassis.identity.nats_login import Login, public_key_of
from devstack import servers
from services import permissions, topology
from services.permissions import Permissions, User

OURS, THEIRS = uuid.uuid4(), uuid.uuid4()
SERVICES = ("activity", "enrichment", "metrics")
OUTSIDE = {
    "tenant": permissions.of_tenant(OURS),
    "publisher": permissions.of_publisher("publisher"),
    "operator": permissions.of_operator(),
}
IDENTITIES: dict[str, Permissions] = {
    name: permissions.of_service(name) for name in SERVICES
} | OUTSIDE
INBOXES = {
    "activity": "_INBOX_prospect-activity",
    "enrichment": "_INBOX_prospect-enrichment",
    "metrics": "_INBOX_prospect-metrics",
    "tenant": f"_INBOX_{OURS}",
    "publisher": "_INBOX_publisher",
}
# Who may publish on what, written down apart from the code that derives it. The operator may all.
EVENTS = {
    f"activity.recorded.{OURS}": {"activity"},
    f"tenant.erased.{OURS}": {"activity"},
    "prospect.enrich.requested": {"publisher"},
    f"prospect.enrich.requested.{OURS}": {"tenant", "publisher"},
    f"prospect.enrich.requested.{THEIRS}": {"publisher"},
    f"prospect.enrich.requested.{OURS}.more": set(),
    f"prospect.enrich.progressed.{OURS}": {"enrichment"},
    f"prospect.enrich.completed.{OURS}": {"enrichment"},
    f"prospect.enrich.failed.{OURS}": {"enrichment"},
    f"prospect.enrich.amended.{OURS}": {"enrichment"},
    f"prospect.enrich.batch.{OURS}": {"enrichment"},
    "prospect.source.changed": {"enrichment"},
    "metrics.aggregate.daily": {"publisher"},
    "metrics.aggregate.schedule": {"metrics"},
    f"metrics.quota.reached.{OURS}": {"metrics"},
    "hints.enrichment.work": {"enrichment"},
    "hints.enrichment.cancel": {"enrichment"},
    "hints.enrichment.again": {"enrichment"},
    "hints.enrichment.forget": {"enrichment"},
    f"dead.activity.recorded.{OURS}": {"metrics"},
    f"dead.tenant.erased.{OURS}": {"enrichment", "metrics"},
    "dead.prospect.enrich.requested": {"enrichment"},
    f"dead.prospect.enrich.requested.{OURS}": {"enrichment"},
    f"dead.prospect.enrich.completed.{OURS}": {"activity"},
    f"dead.prospect.enrich.failed.{OURS}": set(),
    "dead.metrics.aggregate.daily": {"metrics"},
    "anything.else": set(),
}
OWNERS = {
    "ACTIVITY": "activity",
    "ERASED": "activity",
    "ENRICH_REQUESTS": "enrichment",
    "ENRICH": "enrichment",
    "METRICS": "metrics",
    "QUOTAS": "metrics",
    "DEAD_LETTERS": "metrics",
}
READERS = {
    "ACTIVITY": {"activity", "metrics"},
    "ERASED": {"activity"},
    "ENRICH": {"enrichment"},
    "ENRICH_REQUESTS": {"enrichment"},
    "DEAD_LETTERS": {"activity", "enrichment", "metrics"},
}
ERASERS = {name: READERS[name] for name in ("ENRICH_REQUESTS", "DEAD_LETTERS")}
CONSUMERS = {
    "ENRICH.activity-enrich-completed": "activity",
    "ENRICH_REQUESTS.enrichment-requested": "enrichment",
    "ENRICH_REQUESTS.enrichment-requested-by-tenant": "enrichment",
    "ERASED.enrichment-user-erased": "enrichment",
    "ERASED.metrics-user-erased": "metrics",
    "ACTIVITY.metrics-activity-recorded": "metrics",
    "METRICS.metrics-aggregate-daily": "metrics",
}
# Who publishes these consumers' events from an outbox asks whether they were handled.
OF_OUTBOXES = {
    "ACTIVITY.metrics-activity-recorded",
    "ENRICH.activity-enrich-completed",
    "ERASED.enrichment-user-erased",
    "ERASED.metrics-user-erased",
}


def of_jetstream() -> dict[str, set[str]]:
    """Return who may ask JetStream for what; activity reads its own stream with any consumer."""
    table: dict[str, set[str]] = {"$JS.API.INFO": set(), "$JS.API.STREAM.NAMES": set()}
    for stream, owner in OWNERS.items():
        table[f"$JS.API.STREAM.UPDATE.{stream}"] = {owner}
        for verb in ("DELETE", "PURGE", "SNAPSHOT", "RESTORE"):
            table[f"$JS.API.STREAM.{verb}.{stream}"] = set()
        table[f"$JS.API.STREAM.MSG.GET.{stream}"] = READERS.get(stream, set())
        table[f"$JS.API.STREAM.MSG.DELETE.{stream}"] = ERASERS.get(stream, set())
        tails = {"activity"} if stream == "ACTIVITY" else set()
        table[f"$JS.API.CONSUMER.DELETE.{stream}.any"] = tails
        table[f"$JS.API.CONSUMER.MSG.NEXT.{stream}.any"] = tails
        table[f"$JS.API.CONSUMER.CREATE.{stream}.any"] = set()
        table[f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.any"] = set()
    for consumer, service in CONSUMERS.items():
        tails = {"activity"} if consumer.startswith("ACTIVITY.") else set()
        table[f"$JS.API.CONSUMER.MSG.NEXT.{consumer}"] = {service} | tails
        publisher = {OWNERS[consumer.split(".")[0]]} if consumer in OF_OUTBOXES else set()
        table[f"$JS.API.CONSUMER.INFO.{consumer}"] = {service} | publisher
        table[f"$JS.API.CONSUMER.PAUSE.{consumer}"] = set()
        table[f"$JS.ACK.{consumer}.1.1.1.1.0"] = {service}
    return table


PUBLISH = EVENTS | of_jetstream() | {f"{inbox}.x.y": set() for inbox in INBOXES.values()}
SUBSCRIBE: dict[str, set[str]] = {subject: set() for subject in EVENTS} | {
    ">": set(),
    "$JS.>": set(),
    "_INBOX.>": set(),
    "activity.recorded.*": set(),
    "dead.>": set(),
    "hints.enrichment.*": {"enrichment"},
    "hints.enrichment.work": {"enrichment"},
    "hints.enrichment.cancel": {"enrichment"},
    "hints.enrichment.again": {"enrichment"},
    "hints.enrichment.forget": {"enrichment"},
    "prospect.source.changed": {"enrichment"},
    "prospect.enrich.*.*": {"enrichment"},
    f"prospect.enrich.requested.{OURS}": {"enrichment"},
    f"prospect.enrich.requested.{THEIRS}": {"enrichment"},
    f"prospect.enrich.progressed.{OURS}": {"enrichment"},
    f"prospect.enrich.completed.{OURS}": {"enrichment"},
    f"prospect.enrich.failed.{OURS}": {"enrichment"},
    f"prospect.enrich.amended.{OURS}": {"enrichment"},
    f"prospect.enrich.batch.{OURS}": {"enrichment"},
} | {f"{inbox}.x": {name} for name, inbox in INBOXES.items()}  # fmt: skip
REFUSED = re.compile(r'permissions violation for (?:publish|subscription) to "([^"]+)"', re.I)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A broker that knows the identities; yields its address and the folder of their seeds."""
    folder = tmp_path_factory.mktemp("broker")
    users = []
    for name, allowed in IDENTITIES.items():
        file = folder / f"{name}.nk"
        file.write_bytes(bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)))
        users.append(User(name, public_key_of(file), allowed))
    configuration = permissions.configuration(users)
    with servers.nats_server(folder / "nats", users=configuration) as server:
        yield server.url, folder
        server.process.kill()


@asynccontextmanager
async def identity(
    broker: tuple[str, Path], name: str
) -> AsyncIterator[tuple[Client, Callable[[], set[str]]]]:
    """Yield a client of an identity, and what gives the subjects that were refused to it."""
    url, folder = broker
    errors: list[str] = []

    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    client = await nats.connect(
        url, nkeys_seed=str(folder / f"{name}.nk"), error_cb=on_error,
        inbox_prefix=INBOXES.get(name, "_INBOX_operator"),
    )  # fmt: skip
    yield client, lambda: {each for text in errors for each in REFUSED.findall(text)}
    await client.close()


async def all_of(client: Client, refused: Callable[[], set[str]]) -> set[str]:
    """Return what was refused once the broker has answered, and the client told of it."""
    before = None
    while before != refused():
        before = refused()
        for _ in range(3):
            await client.flush()
            await asyncio.sleep(0.05)
    return refused()


def refused_to(name: str, table: dict[str, set[str]]) -> set[str]:
    """Return what must be refused, in lower case as nats-py tells it."""
    if name == "operator":
        return set()
    return {subject.lower() for subject, who in table.items() if name not in who}


@pytest.mark.parametrize("name", IDENTITIES)
async def test_an_identity_publishes_on_its_own_subjects_and_on_no_others(
    broker: tuple[str, Path], name: str
) -> None:
    async with identity(broker, name) as (client, refused):
        for subject in PUBLISH:
            await client.publish(subject, b"{}")
        assert await all_of(client, refused) == refused_to(name, PUBLISH)


@pytest.mark.parametrize("name", IDENTITIES)
async def test_an_identity_hears_its_own_subjects_and_no_others(
    broker: tuple[str, Path], name: str
) -> None:
    async with identity(broker, name) as (client, refused):
        for subject in SUBSCRIBE:
            await client.subscribe(subject)
        assert await all_of(client, refused) == refused_to(name, SUBSCRIBE)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_makes_the_streams_and_consumers_that_it_needs(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / "user.nk"
    file.write_bytes(bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)))
    user = User(name, public_key_of(file), permissions.of_service(name))
    part = topology.SERVICES[name]
    configuration = permissions.configuration([user], account="PROSPECT")
    with servers.nats_server(tmp_path / "nats", users=configuration) as server:
        client = await connect(server.url, f"prospect-{name}", Login(None, file))
        for _ in range(2):
            await ensure(client, part.owns, part.consumers, part.needs)
        await client.close()


async def test_a_tenants_publisher_is_told_that_its_request_is_stored(
    broker: tuple[str, Path],
) -> None:
    async with identity(broker, "operator") as (client, _):
        await ensure(client, topology.STREAMS)
    async with identity(broker, "tenant") as (client, _):
        ack = await client.jetstream().publish(f"prospect.enrich.requested.{OURS}", b"{}")
        assert ack.stream == "ENRICH_REQUESTS"


async def test_who_has_no_key_is_sent_away(broker: tuple[str, Path]) -> None:
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await connect_once(broker[0], "nobody")


def test_every_subject_of_every_stream_and_every_identity_is_in_this_test() -> None:
    known = [re.sub(r"\b[0-9a-f-]{36}\b", "*", subject) for subject in EVENTS]
    for stream in topology.STREAMS[:-1]:
        assert set(stream.subjects) <= set(known)
    assert set(OWNERS) == {stream.name for stream in topology.STREAMS}
    assert set(SERVICES) == set(topology.SERVICES)
    consumers = {f"{e.stream}.{e.name}" for p in topology.SERVICES.values() for e in p.consumers}
    assert set(CONSUMERS) == consumers


def test_who_publishes_knows_every_consumer_of_ours_of_its_events() -> None:
    consumers = [each for part in topology.SERVICES.values() for each in part.consumers]
    for part in topology.SERVICES.values():
        known = {each.name for each in part.consumed_by}
        assert known == {e.name for e in consumers if e.subject in part.publishes}
        # Then a consumer's place in the stream is its place among the events that are kept.
        subjects = {(each.stream, each.subject) for each in part.consumed_by}
        assert len({stream for stream, _ in subjects}) == len(subjects)
