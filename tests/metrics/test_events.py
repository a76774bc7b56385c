"""Events that come in: each is counted once, or is a dead letter that stops no other."""

from __future__ import annotations

import uuid

from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events

from chassis import messaging
from chassis.messaging import OutgoingEvent
from tests.harness import Identity
from tests.metrics.calls import NOON, USERS, record, some_activities, usage_of
from tests.metrics.conftest import Pair


async def test_an_event_delivered_twice_is_counted_once(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    message = activity_events.ActivitiesRecorded(
        tenant_id=str(ours.tenant_id),
        activity_ids=[str(uuid.uuid4())],
        user_ids=[USERS[0]],
        action_types=[activity_pb.ACTION_TYPE_LOGIN],
        created_at_micros=[int(NOON.timestamp() * 1_000_000)],
    )
    event = OutgoingEvent.of(f"activity.recorded.{ours.tenant_id}", message, "test")
    await messaging.publish(nats, event)
    repeat = event.headers() | {"Nats-Msg-Id": "another"}
    await nats.jetstream().publish(event.subject, event.body, headers=repeat)
    await record(pair, ours, some_activities(5))
    await usage_of(pair, ours, 6)


async def test_an_event_of_one_tenant_under_the_subject_of_another_is_a_dead_letter(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client
) -> None:
    dead = await nats.subscribe("dead.>")
    message = activity_events.ActivitiesRecorded(
        tenant_id=str(theirs.tenant_id),
        activity_ids=[str(uuid.uuid4())],
        user_ids=[USERS[0]],
        action_types=[activity_pb.ACTION_TYPE_LOGIN],
        created_at_micros=[int(NOON.timestamp() * 1_000_000)],
    )
    subject = f"activity.recorded.{ours.tenant_id}"
    await messaging.publish(nats, OutgoingEvent.of(subject, message, "test"))
    letter = await dead.next_msg(timeout=30)
    assert letter.headers
    assert letter.headers["Prospect-Dead-Reason"].startswith("tenant_id:")


async def test_a_moment_that_no_calendar_has_is_a_dead_letter_and_stops_no_other_event(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    dead = await nats.subscribe("dead.>")
    message = activity_events.ActivitiesRecorded(
        tenant_id=str(ours.tenant_id),
        activity_ids=[str(uuid.uuid4())],
        user_ids=[USERS[0]],
        action_types=[activity_pb.ACTION_TYPE_LOGIN],
        created_at_micros=[2**63 - 1],
    )
    subject = f"activity.recorded.{ours.tenant_id}"
    await messaging.publish(nats, OutgoingEvent.of(subject, message, "test"))
    await record(pair, ours, some_activities(20))
    letter = await dead.next_msg(timeout=30)
    assert letter.headers
    assert letter.headers["Prospect-Dead-Reason"].startswith("created_at_micros[0]:")
    await usage_of(pair, ours, 20)
