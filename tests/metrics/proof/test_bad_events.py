"""A bad event holds up the counting and the proof of nobody but its own tenant."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from nats.aio.client import Client
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import consumer
from services import topology
from services.metrics.proof import retried_events
from services.metrics.proof.dead_letters import dead_letters
from tests.bad_events import BAD, recorded
from tests.harness import Database, Identity
from tests.metrics.calls import NOON, record, some_activities, total, usage_of, verify
from tests.metrics.conftest import Pair
from tests.metrics.proof.test_dead_letters import FORGET, rebuild

NEWER_ACTION = 99


async def publish(nats: Client, who: Identity, body: bytes) -> str:
    """Publish on the tenant's subject; return the event's id."""
    event_id, subject = str(uuid.uuid4()), f"activity.recorded.{who.tenant_id}"
    await nats.jetstream().publish(subject, body, headers={"Nats-Msg-Id": event_id})
    return event_id


def of_a_newer_version(who: Identity) -> bytes:
    moment = int(NOON.timestamp() * 1_000_000)
    return recorded(who.tenant_id, action_types=[NEWER_ACTION], created_at_micros=[moment])


async def comes_again(nats: Client) -> None:
    """Return once an event was delivered more than once."""
    async with asyncio.timeout(20):
        while True:
            info = await nats.jetstream().consumer_info(
                topology.ACTIVITY_RECORDED.stream, topology.ACTIVITY_RECORDED.name
            )
            if info.num_redelivered:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_event_is_a_dead_letter_and_holds_up_nothing(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client, what: str
) -> None:
    dead = await nats.subscribe(f"dead.activity.recorded.{theirs.tenant_id}")
    await publish(nats, theirs, BAD[what](theirs.tenant_id))
    await dead.next_msg(timeout=20)
    await record(pair, ours, some_activities(20))
    await usage_of(pair, ours, 20)
    for who in (ours, theirs):
        await rebuild(pair, who)
        assert await verify(pair, who, thorough=True) == []


async def test_an_event_that_waits_holds_up_the_proof_of_no_other_tenant(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client, database: Database
) -> None:
    await publish(nats, theirs, of_a_newer_version(theirs))
    await record(pair, ours, some_activities(20))
    await usage_of(pair, ours, 20)
    await comes_again(nats)
    assert await verify(pair, ours, thorough=True) == []
    for statement in FORGET[1:]:
        await database.fetch(statement)
    kinds = {each.kind for each in await verify(pair, ours)}
    assert kinds == {pb.USAGE_FINDING_KIND_MISSING}
    await rebuild(pair, ours)
    assert await total(pair, ours) == 20


async def test_days_of_a_tenant_are_moving_while_an_event_of_it_waits(
    pair: Pair, ours: Identity, nats: Client, database: Database
) -> None:
    await record(pair, ours, some_activities(20))
    await usage_of(pair, ours, 20)
    await publish(nats, ours, of_a_newer_version(ours))
    await comes_again(nats)
    assert await verify(pair, ours, thorough=True) == []
    for statement in FORGET[1:]:
        await database.fetch(statement)
    kinds = [each.kind for each in await verify(pair, ours)]
    assert kinds == [pb.USAGE_FINDING_KIND_MOVING]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rebuild(pair, ours)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await total(pair, ours) == 0


async def test_a_tenant_whose_other_events_are_counted_or_dead_is_not_moving(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(nats, theirs, of_a_newer_version(theirs))
    dead = await nats.subscribe(f"dead.activity.recorded.{ours.tenant_id}")
    await publish(nats, ours, b"\xff")
    await dead.next_msg(timeout=20)
    await record(pair, ours, some_activities(20))
    await usage_of(pair, ours, 20)
    await rebuild(pair, ours)
    monkeypatch.setattr(retried_events, "MAX_EVENTS", 1)
    with pytest.raises(grpc.aio.AioRpcError):
        await rebuild(pair, ours)


async def test_a_flood_of_events_with_unknown_values_stops_no_counting(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "MAX_WAITING", 4)
    dead = await nats.subscribe("dead.activity.recorded.*")
    body = of_a_newer_version(theirs)
    for _ in range(1_100):
        await nats.publish(f"activity.recorded.{theirs.tenant_id}", body)
    letter = await dead.next_msg(timeout=20)
    assert letter.headers is not None
    assert letter.headers["Prospect-Dead-Reason"].startswith("action_types[0]: ")
    await record(pair, ours, some_activities(20))
    await usage_of(pair, ours, 20)


async def test_a_dead_letter_of_too_many_entries_is_not_looked_into(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    body = recorded(ours.tenant_id, created_at_micros=[1] * 2_000_000)
    subject = f"dead.activity.recorded.{ours.tenant_id}"
    await nats.jetstream().publish(subject, body, headers={"ce-id": "one"})
    assert await dead_letters(nats, ours.tenant_id) == {}
    await rebuild(pair, ours)
