"""The activity service killed at random while it records: what was acknowledged is there, once."""

from __future__ import annotations

import asyncio
import random
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import asyncpg
import grpc
import nats.errors
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api
from prospect.activity.v1 import events_pb2

from chassis.broker.client import connect
from chassis.clock import new_id, to_timestamp, utc_now
from devstack import servers
from devstack.stack import Stack, running, start_service, wait_serving
from tests.chaos.killing import RECONNECT_SOON, until_answered

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
TOTAL = 200_000
BATCH = 500
CALLERS = 4
KILLS = 8


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack"), services=("activity",)) as stack:
        yield stack


def batch(size: int) -> pb.RecordActivitiesRequest:
    """Return a batch that may be sent again."""
    now = utc_now()
    return pb.RecordActivitiesRequest(
        activities=[
            pb.NewActivity(
                activity_id=str(new_id(now)),
                user_id=str(uuid.uuid4()),
                action_type=pb.ACTION_TYPE_PROFILE_VIEWED,
                created_at=to_timestamp(now),
            )
            for _ in range(size)
        ]
    )


class Client:
    """A back end that retries until it is answered."""

    def __init__(self, stack: Stack) -> None:
        self._address = stack.addresses["activity"]
        token = stack.token(uuid.uuid4(), uuid.uuid4())
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.acknowledged: set[str] = set()

    async def record(self, requests: list[pb.RecordActivitiesRequest]) -> None:
        """Record batch after batch."""
        async with grpc.aio.insecure_channel(self._address, RECONNECT_SOON) as channel:
            stub = grpc_api.ActivityServiceStub(channel)
            while requests:
                response = await until_answered(
                    partial(
                        stub.RecordActivities, requests.pop(), metadata=self._metadata, timeout=10
                    )
                )
                self.acknowledged |= set(response.activity_ids)


async def kill_now_and_then(stack: Stack, dice: random.Random) -> None:
    """Kill the service at random moments and start it again."""
    process = stack.processes["activity"]
    for _ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.1, 1.0))
        servers.stop(process, signal.SIGKILL)
        process = start_service(stack.folder, "activity", stack.environments["activity"])
        stack.processes["activity"] = process  # type: ignore[index]
        await asyncio.to_thread(
            wait_serving, "activity", stack.addresses["activity"], process, stack.folder
        )


async def published(nats_url: str, wanted: set[str]) -> set[str]:
    """Read the stream from its beginning until it has told of all that is wanted."""
    client = await connect(nats_url, "test")
    subscription = await client.jetstream().pull_subscribe("activity.recorded.*", "reader")
    seen: set[str] = set()
    with suppress(TimeoutError):
        async with asyncio.timeout(60):
            while not wanted <= seen:
                with suppress(nats.errors.TimeoutError):
                    for message in await subscription.fetch(100, timeout=1):
                        event = events_pb2.ActivitiesRecorded.FromString(message.data)
                        seen |= set(event.activity_ids)
                        await message.ack()
    await client.close()
    return seen


async def test_every_acknowledged_activity_is_in_the_log_once_and_published_with_its_id(
    stack: Stack,
) -> None:
    client = Client(stack)
    requests = [batch(BATCH) for _ in range(TOTAL // BATCH)]
    sent = {each.activity_id for request in requests for each in request.activities}
    await asyncio.gather(
        kill_now_and_then(stack, random.Random(7)),
        *(client.record(requests) for _ in range(CALLERS)),
    )
    assert client.acknowledged == sent
    database = await asyncpg.connect(stack.postgres.dsn())
    rows = await database.fetch("select activity_id::text as id from activity.activity_log")
    await database.close()
    assert len(rows) == TOTAL
    assert {row["id"] for row in rows} == sent
    assert await published(stack.nats_url, sent) == sent
