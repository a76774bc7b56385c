"""An event with a value that only a newer version knows is never lost, whatever consumes it.

During a rolling upgrade a newer replica sends what an older one does not know yet: another action
type, another source. The older one leaves such an event to a newer one, or applies what it knows.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from nats.aio.client import Client
from nats.aio.msg import Msg
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.enrichment.v1 import events_pb2 as enrichment_events
from prospect.enrichment.v1 import source_name_pb2
from prospect.metrics.v1 import events_pb2 as metrics_events

from chassis import messaging
from chassis.clock import utc_now
from chassis.messaging import Consumer, OutgoingEvent
from services import topology
from services.cli.operate.services import ServiceName
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Database, Identity, Services

CONSUMED: dict[str, type[Message]] = {
    topology.ENRICH_COMPLETED.name: enrichment_events.EnrichmentCompleted,
    topology.ENRICH_REQUESTED.name: enrichment_events.EnrichmentRequested,
    topology.ENRICH_REQUESTED_BY_TENANT.name: enrichment_events.EnrichmentRequested,
    topology.ENRICHMENT_ERASED.name: activity_events.UserErased,
    topology.METRICS_ERASED.name: activity_events.UserErased,
    topology.ACTIVITY_RECORDED.name: activity_events.ActivitiesRecorded,
    topology.DAILY.name: metrics_events.AggregateDaily,
}
# The fields of closed sets, of which each has a test below.
CLOSED = {
    "prospect.activity.v1.ActivitiesRecorded.action_types",
    "prospect.enrichment.v1.EnrichmentRequested.priority",
    "prospect.enrichment.v1.EnrichmentRequested.sources",
}
NEWER_ACTION = 99
METADATA = "select metadata::text as metadata from activity.activity_log"


def closed_sets(message: Any) -> Iterator[str]:
    """Yield the fields that take only values that are known now."""
    for field in message.fields:
        rules = field.GetOptions().Extensions[validate_pb2.field]
        names = (rules.string, rules.repeated.items.string)
        if field.enum_type is not None or any(
            getattr(each, "in") or each.Extensions[source_name_pb2.is_source] for each in names
        ):
            yield field.full_name
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            yield from closed_sets(field.message_type)


def test_every_consumer_and_every_closed_set_of_its_event_is_in_this_test() -> None:
    consumers = {each.name for each in vars(topology).values() if isinstance(each, Consumer)}
    assert consumers == set(CONSUMED)
    assert {n for each in CONSUMED.values() for n in closed_sets(each.DESCRIPTOR)} == CLOSED


@pytest.fixture
async def dead(nats: Client) -> asyncio.Queue[Msg]:
    letters: asyncio.Queue[Msg] = asyncio.Queue()
    await nats.subscribe("dead.>", cb=letters.put)
    return letters


async def waits(nats: Client, consumer: Consumer) -> None:
    """Return once an event waits that was delivered more often than one that a bug fails."""
    async with asyncio.timeout(20):
        while True:
            info = await nats.jetstream().consumer_info(consumer.stream, consumer.name)
            if (
                info.delivered
                and info.delivered.consumer_seq > consumer.max_deliver + 2
                and info.num_ack_pending
            ):
                return
            await asyncio.sleep(0.05)


def recorded(who: Identity, *actions: int) -> activity_events.ActivitiesRecorded:
    return activity_events.ActivitiesRecorded(
        tenant_id=str(who.tenant_id),
        activity_ids=[str(uuid.uuid4()) for _ in actions],
        user_ids=[str(who.user_id) for _ in actions],
        action_types=actions,  # type: ignore[arg-type]
        created_at_micros=[int(utc_now().timestamp() * 1_000_000)] * len(actions),
    )


async def test_a_batch_with_an_unknown_action_type_waits_for_a_newer_metrics(
    monkeypatch: pytest.MonkeyPatch,
    services: Services,
    nats: Client,
    ours: Identity,
    database: Database,
    dead: asyncio.Queue[Msg],
) -> None:
    settings = {
        "activity_address": "127.0.0.1:1",
        "activity_token_file": services.audit_token_file(),
    }
    monkeypatch.setattr("chassis.consumer.RETRY_SECONDS", 0.01)
    subject = f"activity.recorded.{ours.tenant_id}"
    async with services.running(ServiceName.METRICS, **settings):
        for batch in (recorded(ours, 1, NEWER_ACTION), recorded(ours, 1, 1)):
            await messaging.publish(nats, OutgoingEvent.of(subject, batch, "test"))
        await waits(nats, topology.ACTIVITY_RECORDED)
    assert dead.empty()
    days = await database.fetch("select total_logins from metrics.usage_metrics_daily")
    assert [day["total_logins"] for day in days] == [2]  # the batch whose values are known


async def test_a_number_of_an_unknown_action_type_waits_in_json_too_and_a_misspelt_name_does_not(
    monkeypatch: pytest.MonkeyPatch,
    services: Services,
    nats: Client,
    ours: Identity,
    dead: asyncio.Queue[Msg],
) -> None:
    settings = {
        "activity_address": "127.0.0.1:1",
        "activity_token_file": services.audit_token_file(),
    }
    monkeypatch.setattr("chassis.consumer.RETRY_SECONDS", 0.01)
    subject = f"activity.recorded.{ours.tenant_id}"
    newer = json_format.MessageToDict(recorded(ours, 1, NEWER_ACTION))
    misspelt = newer | {"actionTypes": ["ACTION_TYPE_LOGIN", "ACTION_TYPE_LOGINN"]}
    async with services.running(ServiceName.METRICS, **settings):
        for body in (newer, misspelt):
            await nats.jetstream().publish(subject, json.dumps(body).encode())
        letter = await asyncio.wait_for(dead.get(), 20)
        await waits(nats, topology.ACTIVITY_RECORDED)
    assert letter.headers is not None
    assert letter.headers["Prospect-Dead-Reason"].startswith("action_types[1]: must be the name")
    assert dead.empty()


async def test_a_completed_run_of_an_unknown_source_is_logged_as_far_as_it_is_known(
    services: Services, nats: Client, ours: Identity, database: Database, dead: asyncio.Queue[Msg]
) -> None:
    completed_at = Timestamp()
    completed_at.FromDatetime(utc_now())
    completed = enrichment_events.EnrichmentCompleted(
        **{name: str(uuid.uuid4()) for name in ("run_id", "prospect_id")},
        tenant_id=str(ours.tenant_id),
        user_id=str(ours.user_id),
        complete=["contactout", "exa", "sec", "claude", "newer_source"],
        missing=["another_newer_source"],
        completed_at=completed_at,
    )
    subject = f"prospect.enrich.completed.{ours.tenant_id}"
    async with services.running(ServiceName.ACTIVITY):
        await messaging.publish(nats, OutgoingEvent.of(subject, completed, "test"))
        async with asyncio.timeout(20):
            while not (
                rows := await database.fetch("select metadata::text from activity.activity_log")
            ):
                await asyncio.sleep(0.02)
    assert dead.empty()
    assert "newer_source" in rows[0]["metadata"]


@pytest.mark.parametrize(("field", "value"), [("priority", 99), ("sources", ["newer_source"])])
async def test_a_request_from_outside_with_an_unknown_value_is_a_dead_letter_that_names_it(
    services: Services,
    nats: Client,
    ours: Identity,
    dead: asyncio.Queue[Msg],
    field: str,
    value: object,
) -> None:
    requested = enrichment_events.EnrichmentRequested(
        prospect_id=str(uuid.uuid4()),
        tenant_id=str(ours.tenant_id),
        user_id=str(ours.user_id),
        name="Ada Lovelace",
        company="Analytical Engines",
        **{field: value},  # type: ignore[arg-type]
    )
    async with services.running(ServiceName.ENRICHMENT, **sandbox_settings("http://127.0.0.1:1")):
        await messaging.publish(nats, OutgoingEvent.of(topology.REQUESTED, requested, "test"))
        letter = await asyncio.wait_for(dead.get(), 20)
    assert letter.headers is not None
    assert letter.headers["Prospect-Dead-Reason"].startswith(field)
