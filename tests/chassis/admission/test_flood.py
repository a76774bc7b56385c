"""Tenants that open calls by the hundred and send nothing do not keep another one from its work."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from services.cli.operate.services import ServiceName
from tests.chassis.admission.test_admission import a_batch, metric
from tests.harness import Identity, Services

SERVICE = "/prospect.activity.v1.ActivityService"


@asynccontextmanager
async def flood(
    services: Services, method: str, who: list[Identity], count: int
) -> AsyncIterator[list[Any]]:
    """Open so many calls of a method by each tenant, whose requests never come."""
    before = metric("prospect_calls_open")
    address = services.addresses[ServiceName.ACTIVITY]
    async with grpc.aio.insecure_channel(address) as channel:
        begin: Any = channel.stream_stream(f"{SERVICE}/{method}")
        calls = [begin(metadata=each.metadata()) for each in who for _ in range(count)]
        while metric("prospect_calls_open") < before + len(calls):
            await asyncio.sleep(0.01)
        yield calls
        for call in calls:
            call.cancel()


async def test_calls_half_open_by_the_hundred_leave_others_their_places(
    services: Services, ours: Identity, theirs: Identity
) -> None:
    third = Identity(ours.key, uuid.uuid4(), uuid.uuid4())
    async with services.running(
        ServiceName.ACTIVITY, first_message_seconds=120, queue_seconds=60
    ) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        async with flood(services, "GetRetention", [ours, theirs], 300):
            for _ in range(20):
                await activity.GetRetention(
                    pb.GetRetentionRequest(), metadata=third.metadata(), timeout=20
                )


async def test_two_tenants_with_all_calls_that_they_may_have_leave_others_some(
    services: Services, ours: Identity, theirs: Identity
) -> None:
    third = Identity(ours.key, uuid.uuid4(), uuid.uuid4())
    async with services.running(ServiceName.ACTIVITY, max_calls=200) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        tails: list[Any] = [
            activity.TailActivities(pb.TailActivitiesRequest(), metadata=who.metadata())
            for who in [ours, theirs] * 110
        ]
        ends = [asyncio.ensure_future(tail.code()) for tail in tails]
        while sum(end.done() for end in ends) < 40:
            await asyncio.sleep(0.01)
        await activity.GetRetention(pb.GetRetentionRequest(), metadata=third.metadata())
        assert {end.result() for end in ends if end.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for tail in tails:
            tail.cancel()
        await asyncio.gather(*ends)


async def test_idle_streams_of_requests_give_way_to_a_tenant_that_has_none(
    services: Services, ours: Identity, theirs: Identity
) -> None:
    third = Identity(ours.key, uuid.uuid4(), uuid.uuid4())
    async with services.running(
        ServiceName.ACTIVITY, first_message_seconds=120, queue_seconds=60
    ) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        async with flood(services, "StreamActivities", [ours, theirs], 40) as idle:
            for _ in range(3):
                stream: Any = activity.StreamActivities(metadata=third.metadata(), timeout=20)
                chunk = pb.StreamActivitiesRequest(
                    request_id=str(uuid.uuid4()), activities=a_batch(3).activities
                )
                await stream.write(chunk)
                await stream.done_writing()
                assert [each.recorded_count async for each in stream]
            ended = [call for call in idle if call.done()]
            assert [await call.code() for call in ended] == [
                grpc.StatusCode.RESOURCE_EXHAUSTED
            ] * len(ended)
            assert 1 <= len(ended) <= 3
