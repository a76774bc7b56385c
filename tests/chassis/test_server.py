"""What every call gets: a deadline, a size limit, a drain, one log line, and no bug's insides."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from devstack.stack import running
from services.cli.operate.services import ServiceName
from tests.activity.recording.test_record_batch import an_activity
from tests.chassis.test_service import NOT_SERVING
from tests.harness import Database, Identity, Services

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub


async def record(stub: ActivityServiceAsyncStub, who: Identity, **fields: object) -> None:
    """Record an entry, setting no deadline."""
    request = pb.RecordActivityRequest(activity=an_activity(**fields))
    await stub.RecordActivity(request, metadata=who.metadata())


@asynccontextmanager
async def locked_log(database: Database) -> AsyncIterator[None]:
    """Hold the log, so that what records waits until the block ends."""
    connection = await asyncpg.connect(database.dsn())
    try:
        async with connection.transaction():
            await connection.execute("lock table activity.activity_log in access exclusive mode")
            yield
    finally:
        await connection.close()


async def wait_until_a_call_waits(database: Database, *, waits: bool = True) -> None:
    """Return when a statement of the service waits for the lock, or when none does."""
    waiting = (
        "select 1 from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'"
        " and application_name = 'prospect-activity'"
    )
    async with asyncio.timeout(30):
        while bool(await database.fetch(waiting, database.name)) != waits:
            await asyncio.sleep(0.02)


async def test_a_call_without_a_deadline_gets_the_services(
    services: Services, ours: Identity, database: Database
) -> None:
    async with (
        services.running(ServiceName.ACTIVITY, deadline_seconds=0.3) as channel,
        locked_log(database),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await record(grpc_api.ActivityServiceStub(channel), ours)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_past_its_callers_deadline_holds_nothing_at_the_service(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel, locked_log(database):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await grpc_api.ActivityServiceStub(channel).ListActivities(
                pb.ListActivitiesRequest(), metadata=ours.metadata(), timeout=0.3
            )
        await wait_until_a_call_waits(database, waits=False)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_message_above_the_limit_is_refused(services: Services, ours: Identity) -> None:
    request = pb.RecordActivitiesRequest(
        activities=[an_activity(user_agent="x" * 500) for _ in range(3_000)]
    )
    assert request.ByteSize() > 1_048_576
    async with services.running(ServiceName.ACTIVITY, max_message_mb=1) as channel:
        stub = grpc_api.ActivityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RecordActivities(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def break_recording(database: Database) -> None:
    """Have the database refuse every batch as no caller can cause it."""
    for statement in (
        "create function activity.fail() returns trigger language plpgsql"
        " as $$ begin raise exception 'a secret of the inside'; end $$",
        "create trigger fail before insert on activity.batches execute function activity.fail()",
    ):
        await database.fetch(statement)


async def test_a_bug_shows_nothing_of_its_inside(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        await break_recording(database)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await record(grpc_api.ActivityServiceStub(channel), ours)
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert refused.value.details() == "internal error"


async def test_a_call_in_flight_at_the_stop_is_answered(
    services: Services, ours: Identity, database: Database
) -> None:
    ready, stop = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with services.running(ServiceName.ACTIVITY, drain_seconds=8):
            ready.set()
            await stop.wait()

    serving = asyncio.create_task(serve())
    await ready.wait()
    async with grpc.aio.insecure_channel(services.addresses[ServiceName.ACTIVITY]) as channel:
        async with locked_log(database):
            call = asyncio.create_task(record(grpc_api.ActivityServiceStub(channel), ours))
            await wait_until_a_call_waits(database)
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            async for health in watch:
                stop.set()  # once it is watched
                if health.status == NOT_SERVING:
                    break
            assert not call.done()
        await call
    await serving
    assert len(await database.fetch("select 1 from activity.activity_log")) == 1


async def test_a_call_leaves_one_line_with_its_outcome_and_nothing_that_a_user_typed(
    tmp_path: Path,
) -> None:
    tenant_id, trace = uuid.uuid4(), "0123456789abcdef0123456789abcdef"
    with running(tmp_path, services=("activity",)) as stack:
        token = stack.token(tenant_id, uuid.uuid4())
        metadata = (
            ("authorization", f"Bearer {token}"),
            ("traceparent", f"00-{trace}-0123456789abcdef-01"),
        )
        async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
            entry = an_activity(target_id="typed-target", metadata_json='{"typed": "words"}')
            request = pb.RecordActivityRequest(activity=entry)
            await grpc_api.ActivityServiceStub(channel).RecordActivity(request, metadata=metadata)
    log = (tmp_path / "logs" / "activity.log").read_text()
    calls = [line for line in map(json.loads, log.splitlines()) if line["event"] == "call"]
    assert [line["trace_id"] for line in calls] == [trace]
    assert calls[0]["method"].endswith("/RecordActivity")
    assert (calls[0]["status"], calls[0]["tenant"]) == ("OK", str(tenant_id))
    assert calls[0]["duration_ms"] > 0
    assert not any(word in log for word in ("typed", entry.user_id, token))
