"""What one tenant takes of a service is bounded, and leaves the rest to the others."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from prometheus_client import REGISTRY
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from services.cli.operate.services import ServiceName
from tests.activity.recording.test_record_batch import an_activity
from tests.chassis.test_server import locked_log, record, wait_until_a_call_waits
from tests.harness import Database, Identity, Services, detail, error_info

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

MANY = """
insert into activity.activity_log (
  tenant_id, activity_id, user_id, action_type, target_id, created_at)
select $1, uuidv7(), uuidv7(), 'login', 'target', now() from generate_series(1, $2::int)
"""


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Await a call that must be refused with RESOURCE_EXHAUSTED; return its error."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return refused.value


async def reason(call: Any) -> str:
    """Return the reason of a call that must be refused with RESOURCE_EXHAUSTED."""
    return str(error_info(await refusal(call)).reason)


async def list_entries(activity: ActivityServiceAsyncStub, who: Identity) -> None:
    """Read a page."""
    await activity.ListActivities(pb.ListActivitiesRequest(), metadata=who.metadata())


def tail(activity: ActivityServiceAsyncStub, who: Identity) -> Any:
    """Follow the log."""
    return activity.TailActivities(pb.TailActivitiesRequest(), metadata=who.metadata())


def metric(name: str) -> float:
    """Return a metric's value."""
    return REGISTRY.get_sample_value(name) or 0.0


async def test_a_tenant_that_writes_too_often_is_told_when_to_go_on(
    services: Services, ours: Identity, theirs: Identity
) -> None:
    rates = {"writes_per_second": 0.01, "burst_seconds": 200}
    async with services.running(ServiceName.ACTIVITY, **rates) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        for _ in range(2):
            await record(activity, ours)
        refused = await refusal(record(activity, ours))
        await list_entries(activity, ours)
        await record(activity, theirs)
    assert error_info(refused).reason == "RATE_EXCEEDED"
    assert 0 < detail(refused, error_details_pb2.RetryInfo).retry_delay.seconds <= 100
    (violation,) = detail(refused, error_details_pb2.QuotaFailure).violations
    assert violation.subject == f"tenant:{ours.tenant_id}"


async def test_the_operator_may_give_one_tenant_other_limits(
    services: Services, ours: Identity, theirs: Identity
) -> None:
    limits = {str(ours.tenant_id): {"read": 0.01}}
    async with services.running(
        ServiceName.ACTIVITY, tenant_limits=limits, burst_seconds=0
    ) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        await list_entries(activity, ours)
        assert await reason(list_entries(activity, ours)) == "RATE_EXCEEDED"
        for _ in range(2):
            await list_entries(activity, theirs)


async def test_a_tenant_with_many_streams_open_leaves_calls_to_the_others(
    services: Services, ours: Identity, theirs: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY, max_calls=10) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        tails = [tail(activity, ours) for _ in range(5)]
        for each in tails:
            await each.read()
        assert await reason(list_entries(activity, ours)) == "TOO_MANY_CALLS"
        await list_entries(activity, theirs)
        for each in tails:
            each.cancel()
        async with asyncio.timeout(30):
            while metric("prospect_calls_open"):
                await asyncio.sleep(0)
        await list_entries(activity, ours)


async def test_exports_that_nobody_reads_do_not_keep_others_from_theirs(
    services: Services, ours: Identity, theirs: Identity, database: Database
) -> None:
    async with services.running(
        ServiceName.ACTIVITY, postgres_pool_size=8, queue_seconds=0.1
    ) as channel:
        await database.fetch(MANY, ours.tenant_id, 20_000)
        activity = grpc_api.ActivityServiceStub(channel)
        request = pb.ExportActivitiesRequest()
        exports = [activity.ExportActivities(request, metadata=ours.metadata()) for _ in range(2)]
        for each in exports:
            await each.read()
        count = pb.CountActivitiesRequest()
        refused = reason(activity.CountActivities(count, metadata=ours.metadata()))
        assert await refused == "TOO_MANY_EXPENSIVE_CALLS"
        await list_entries(activity, ours)
        await activity.CountActivities(count, metadata=theirs.metadata())
        async for _ in activity.ExportActivities(request, metadata=theirs.metadata()):
            pass
        for each in exports:
            each.cancel()


async def test_the_places_of_exports_that_nobody_reads_come_free_after_a_while(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(
        ServiceName.ACTIVITY, postgres_pool_size=2, queue_seconds=10, stalled_client_seconds=0.2
    ) as channel:
        await database.fetch(MANY, ours.tenant_id, 20_000)
        activity = grpc_api.ActivityServiceStub(channel)
        stalled = activity.ExportActivities(pb.ExportActivitiesRequest(), metadata=ours.metadata())
        await stalled.read()
        await activity.CountActivities(pb.CountActivitiesRequest(), metadata=ours.metadata())
        stalled.cancel()


async def test_a_tenant_whose_calls_take_long_leaves_work_to_the_others(
    services: Services, ours: Identity, theirs: Identity, database: Database
) -> None:
    async with services.running(
        ServiceName.ACTIVITY, max_calls_in_work=2, queue_seconds=0.1
    ) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        async with locked_log(database):
            waiting = asyncio.create_task(record(activity, ours))
            await wait_until_a_call_waits(database)
            assert await reason(read_retention(activity, ours)) == "TOO_MANY_CALLS"
            await read_retention(activity, theirs)
        await waiting
        await read_retention(activity, ours)


async def test_a_call_is_refused_while_it_has_time_left_to_try_elsewhere(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(
        ServiceName.ACTIVITY, max_calls_in_work=2, queue_seconds=60
    ) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        async with locked_log(database):
            waiting = asyncio.create_task(record(activity, ours))
            await wait_until_a_call_waits(database)
            request = pb.GetRetentionRequest()
            call = activity.GetRetention(request, metadata=ours.metadata(), timeout=2)
            assert await reason(call) == "TOO_MANY_CALLS"
        await waiting


def a_batch(kilobytes: int) -> pb.RecordActivitiesRequest:
    """Return a batch of about this size."""
    entries = [an_activity(user_agent="x" * 500) for _ in range(kilobytes * 8 // 5)]
    return pb.RecordActivitiesRequest(activities=entries)


async def test_large_requests_wait_for_memory_and_are_refused_where_none_comes_free(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(
        ServiceName.ACTIVITY, message_memory_mb=1, queue_seconds=0.2
    ) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        async with locked_log(database):
            first = asyncio.ensure_future(
                activity.RecordActivities(a_batch(400), metadata=ours.metadata())
            )
            await wait_until_a_call_waits(database)
            assert metric("prospect_message_bytes_held") > 300_000
            second = activity.RecordActivities(a_batch(400), metadata=ours.metadata())
            assert await reason(second) == "NO_ROOM_FOR_REQUEST"
            await read_retention(activity, ours)
        await first
        await activity.RecordActivities(a_batch(400), metadata=ours.metadata())
        async with asyncio.timeout(30):
            while metric("prospect_message_bytes_held"):
                await asyncio.sleep(0)


async def read_retention(activity: ActivityServiceAsyncStub, who: Identity) -> None:
    """Make a small call that does not touch the log."""
    await activity.GetRetention(pb.GetRetentionRequest(), metadata=who.metadata())


async def test_large_requests_that_come_at_once_are_served_in_turns(
    services: Services, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY, message_memory_mb=1) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        batches = [
            activity.RecordActivities(a_batch(400), metadata=ours.metadata()) for _ in range(6)
        ]
        recorded = await asyncio.gather(*batches)
    assert len(recorded) == 6


async def test_the_chunks_of_a_stream_are_counted_until_they_are_recorded(
    services: Services, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY, message_memory_mb=2) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        stream = activity.StreamActivities(metadata=ours.metadata())
        for _ in range(8):
            chunk = pb.StreamActivitiesRequest(
                request_id=str(uuid.uuid4()), activities=a_batch(300).activities
            )
            await stream.write(chunk)
        await stream.done_writing()
        assert [each.recorded_count async for each in stream] == [480] * 8
        async with asyncio.timeout(30):
            while metric("prospect_message_bytes_held"):
                await asyncio.sleep(0)


async def half_open(channel: grpc.aio.Channel, who: Identity, count: int) -> list[Any]:
    """Begin calls whose request never comes."""
    method = "/prospect.activity.v1.ActivityService/GetRetention"
    calls: list[Any] = [channel.stream_unary(method)(metadata=who.metadata()) for _ in range(count)]
    for call in calls:
        await call.wait_for_connection()
    return calls


async def test_calls_left_half_open_by_two_tenants_leave_others_a_place(
    services: Services, ours: Identity, theirs: Identity
) -> None:
    third = Identity(ours.key, uuid.uuid4(), uuid.uuid4())
    async with services.running(
        ServiceName.ACTIVITY, first_message_seconds=120, queue_seconds=60
    ) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        open_before = metric("prospect_calls_open")
        calls: list[Any] = [
            *await half_open(channel, ours, 20),
            *await half_open(channel, theirs, 20),
        ]
        while metric("prospect_calls_open") < open_before + len(calls):
            await asyncio.sleep(0.01)
        for _ in range(20):
            await activity.GetRetention(
                pb.GetRetentionRequest(), metadata=third.metadata(), timeout=20
            )
        for call in calls:
            call.cancel()
