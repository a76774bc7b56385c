"""Counting through crashes of everything: at the end the roll-up is the log, counted again."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import grpc
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client as Nats
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.metrics.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as metrics_pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis import messaging
from chassis.broker.client import connect
from chassis.clock import new_id, to_timestamp, utc_now
from chassis.messaging import OutgoingEvent
from devstack.stack import Stack, running
from services import topology
from tests.chaos.killing import RECONNECT_SOON, Victims, fetch, until_answered
from tests.chaos.recount import LOCAL_DAYS, UTC_DAYS, differing
from tests.metrics.feed import ACTIONS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
TOTAL = 200_000
TENANTS = [uuid.UUID(int=0xA0 + number) for number in range(4)]
KATHMANDU, BERLIN = TENANTS[:2]
USERS = [str(uuid.UUID(int=0xB0 + number)) for number in range(12)]
DAYS = 6
ORDER = ("metrics", "postgres", "metrics-2", "nats-server", "activity")
REPLICAS = {"activity": "activity", "metrics": "metrics", "metrics-2": "metrics"}
NEW_LIST = ("", '{"new_list": true}', '{"new_list": "yes"}')
TRANSIENT = (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError)


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with running(folder, services=("activity", "metrics")) as stack:
        yield stack


def some_activities(dice: random.Random, number: int) -> list[pb.NewActivity]:
    """Return entries of all kinds by a few users, from now to days ago."""
    now = utc_now()
    return [
        pb.NewActivity(
            activity_id=str(new_id(now)),
            user_id=dice.choice(USERS),
            action_type=dice.choice(ACTIONS),
            metadata_json=dice.choice(NEW_LIST),
            created_at=to_timestamp(now - dice.choice((0, 1)) * dice.random() * timedelta(DAYS)),
        )
        for _ in range(number)
    ]


class Client:
    """A back end of one tenant that records until it is answered, and some of it once more."""

    def __init__(self, stack: Stack, tenant_id: uuid.UUID, seed: int) -> None:
        self._address = stack.addresses["activity"]
        token = stack.token(tenant_id, uuid.uuid4())
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._dice = random.Random(seed)
        self.duplicates = 0

    async def record(self, number: int) -> None:
        """Record so many activities in batches, each together with some that were there before."""
        before: list[pb.NewActivity] = []
        async with grpc.aio.insecure_channel(self._address, RECONNECT_SOON) as channel:
            stub = activity_api.ActivityServiceStub(channel)
            while number:
                new = some_activities(self._dice, min(number, self._dice.randrange(50, 600)))
                number -= len(new)
                again = self._dice.sample(before, min(len(before), self._dice.choice((0, 0, 9))))
                # Now and then two send the same at once.
                times = self._dice.choice((1, 1, 1, 1, 2))
                await asyncio.gather(*[self._record(stub, new + again) for _ in range(times)])
                before = new
                await asyncio.sleep(self._dice.random() * 0.3)

    async def _record(
        self, stub: activity_api.ActivityServiceAsyncStub, activities: list[pb.NewActivity]
    ) -> None:
        request = pb.RecordActivitiesRequest(activities=activities)
        response = await until_answered(
            partial(stub.RecordActivities, request, metadata=self._metadata, timeout=10)
        )
        assert len(response.activity_ids) == len(activities)
        self.duplicates += response.duplicate_count


async def kill_now_and_then(victims: Victims, dice: random.Random) -> None:
    """Kill one after the other at random moments, until cancelled."""
    while True:
        for victim in ORDER:
            await asyncio.sleep(dice.uniform(0.5, 3))
            await victims.kill(victim)


async def repeat_events(client: Nats, dice: random.Random, repeated: list[int]) -> None:
    """Publish events of the stream once more, old ones too, which the broker takes as new."""
    jetstream = client.jetstream()
    while True:
        await asyncio.sleep(dice.uniform(0, 0.3))
        with suppress(*TRANSIENT):
            last = (await jetstream.stream_info("ACTIVITY")).state.last_seq
            old = await jetstream.get_msg("ACTIVITY", dice.randint(1, max(last, 1)))
            headers = (old.headers or {}) | {"Nats-Msg-Id": str(uuid.uuid4())}
            assert old.subject
            assert headers["ce-id"]
            await jetstream.publish(old.subject, old.data or b"", headers=headers, timeout=2)
            repeated.append(old.seq or 0)


async def reconcile_now_and_then(client: Nats, days: list[str]) -> None:
    """Ask for days to be proven equal to the log while they are counted."""
    for number in range(1_000):
        await asyncio.sleep(2)
        message = events_pb2.AggregateDaily(date=days[number % len(days)])
        with suppress(*TRANSIENT):
            event = OutgoingEvent.of(topology.AGGREGATE_DAILY, message, "test")
            await messaging.publish(client, event)


def metrics_call(stack: Stack, tenant_id: uuid.UUID, scopes: str) -> Any:
    """Return the metadata of a call."""
    return (("authorization", f"Bearer {stack.token(tenant_id, uuid.uuid4(), scopes)}"),)


async def set_zone(stack: Stack, tenant_id: uuid.UUID, zone: str) -> None:
    """Set a tenant's time zone, however often it has to be asked for."""
    request = metrics_pb.SetTimeZoneRequest(time_zone=zone)
    metadata = metrics_call(stack, tenant_id, "metrics:admin")
    async with grpc.aio.insecure_channel(stack.addresses["metrics"], RECONNECT_SOON) as channel:
        stub = metrics_api.MetricsServiceStub(channel)
        await until_answered(partial(stub.SetTimeZone, request, metadata=metadata, timeout=10))


async def state_of(stack: Stack, client: Nats) -> dict[str, Any]:
    """Return how many events are not counted yet, by where they wait."""
    (outbox,) = await fetch(stack, "select count(*) as n from activity.outbox")
    consumer = topology.ACTIVITY_RECORDED
    info = await client.jetstream().consumer_info(consumer.stream, consumer.name)
    return {
        "in the outbox": outbox["n"],
        "in the stream": info.num_pending,
        "unacknowledged": info.num_ack_pending,
    }


async def wait_counted(stack: Stack, client: Nats, seconds: float = 150) -> None:
    """Wait until every event is counted, or fail with where the others wait."""
    state: dict[str, Any] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(*TRANSIENT):
            state = await state_of(stack, client)
            if not any(state.values()):
                return
        await asyncio.sleep(0.5)
    missing = await differing(stack, UTC_DAYS)
    pytest.fail(f"not counted after {seconds} s: {state}; {len(missing)} rows differ {missing[:4]}")


async def record_while_killing(
    stack: Stack, victims: Victims, client: Nats, days: list[str]
) -> Counter[str]:
    """Record everything while processes are killed; count the kills and the repeats."""
    repeated: list[int] = []
    clients = [Client(stack, tenant, seed) for seed, tenant in enumerate(TENANTS)]
    killers = [
        asyncio.create_task(kill_now_and_then(victims, random.Random(7))),
        asyncio.create_task(repeat_events(client, random.Random(8), repeated)),
        asyncio.create_task(reconcile_now_and_then(client, days)),
    ]
    recording = asyncio.gather(*(each.record(TOTAL // len(clients)) for each in clients))
    await asyncio.sleep(10)
    await set_zone(stack, BERLIN, "Europe/Berlin")
    await recording
    assert not any(each.done() for each in killers), [each for each in killers if each.done()]
    for each in killers:
        each.cancel()
    await asyncio.gather(*killers, return_exceptions=True)
    duplicates = sum(each.duplicates for each in clients)
    return victims.kills + Counter(repeats=len(repeated), duplicates=duplicates)


async def verify(stack: Stack, days: list[str]) -> list[metrics_pb.VerifyUsageResponse]:
    """Have the service compare every counter of every user with the log."""
    request = metrics_pb.VerifyUsageRequest(start_date=days[0], end_date=days[-1], thorough=True)
    metadata = metrics_call(stack, KATHMANDU, "metrics:audit")
    async with grpc.aio.insecure_channel(stack.addresses["metrics"], RECONNECT_SOON) as channel:
        stub = metrics_api.MetricsServiceStub(channel)
        return [each async for each in stub.VerifyUsage(request, metadata=metadata)]


async def check(stack: Stack, client: Nats, days: list[str]) -> None:
    """Hold the roll-up against the log, by SQL and by the service's own proof."""
    (log,) = await fetch(stack, "select count(*) as n from activity.activity_log")
    assert log["n"] == TOTAL
    assert await differing(stack, UTC_DAYS) == []
    assert await differing(stack, LOCAL_DAYS) == []
    verified = await verify(stack, days)
    assert [finding for each in verified for finding in each.findings] == []
    assert sum(each.activity_count for each in verified) == TOTAL
    letters = await client.jetstream().stream_info("DEAD_LETTERS")
    assert letters.state.messages == 0
    outcomes = await fetch(stack, "select outcome, findings from metrics.reconciliations")
    print(Counter(row["outcome"] for row in outcomes))
    assert [row for row in outcomes if row["outcome"] == "repaired"] == []


async def test_the_rollup_is_the_log_counted_again_and_nothing_was_repaired(stack: Stack) -> None:
    victims = Victims(stack, REPLICAS)
    await victims.wait_serving()
    await set_zone(stack, KATHMANDU, "Asia/Kathmandu")
    started = utc_now()
    days = days_since(started - timedelta(DAYS))
    client = await connect(stack.nats_url, "test")
    supervising = asyncio.create_task(victims.supervise())
    try:
        happened = await record_while_killing(stack, victims, client, days)
        recorded = utc_now()
        await victims.wait_serving()
        await wait_counted(stack, client)
        assert min(happened[each] for each in (*ORDER, "repeats", "duplicates")) > 0
        print(dict(happened), f"recorded {recorded - started}, counted {utc_now() - started}")
        await check(stack, client, days_since(started - timedelta(DAYS)))
    finally:
        supervising.cancel()
        await client.close()
        await victims.stop()


def days_since(first: datetime) -> list[str]:
    """Return the UTC days from a moment's to today."""
    number = (utc_now().date() - first.date()).days
    return [(first.date() + timedelta(each)).isoformat() for each in range(number + 1)]
