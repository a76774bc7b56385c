"""The main job with each service as its own identity: the broker refuses nothing it needs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.enrichment.v1 import enrichment_service_pb2 as enrichment_pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as enrichment_api
from prospect.enrichment.v1 import runs_pb2
from prospect.metrics.v1 import events_pb2 as metrics_events
from prospect.metrics.v1 import metrics_service_pb2 as metrics_pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis import messaging
from chassis.broker.client import connect
from chassis.clock import utc_now
from chassis.messaging import OutgoingEvent
from devstack import stack
from devstack.stack import ALL_SCOPES, AUDIT_SCOPES, Stack
from services import topology
from tests.chassis.test_dead_letters import a_request


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Stack]:
    with stack.running(tmp_path / "state") as each:
        yield each


def refusals(folder: Path) -> list[str]:
    """Return what the services' logs tell of the broker's refusals."""
    logs = (folder / "logs" / f"{name}.log" for name in topology.SERVICES)
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return [each for each in lines if "nats trouble" in each or "ermissions" in each]


async def entries_of(tail: Any, count: int) -> list[activity_pb.Activity]:
    found: list[activity_pb.Activity] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += (await tail.read()).activities
    return found


async def test_the_main_job_is_done_and_the_broker_refuses_nothing(running: Stack) -> None:
    tenant_id, user_id, other = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    token = running.token(tenant_id, user_id, f"{ALL_SCOPES} {AUDIT_SCOPES}")
    who = (("authorization", f"Bearer {token}"),)
    day = utc_now().date()
    span = {"start_date": str(day - timedelta(days=1)), "end_date": str(day)}
    backend = await connect(running.nats_url, "a-back-end")
    dead = await backend.subscribe("dead.>")
    channels = {name: grpc.aio.insecure_channel(at) for name, at in running.addresses.items()}
    activity = activity_api.ActivityServiceStub(channels["activity"])
    enrichment = enrichment_api.EnrichmentServiceStub(channels["enrichment"])
    metrics = metrics_api.MetricsServiceStub(channels["metrics"])

    tail = activity.TailActivities(activity_pb.TailActivitiesRequest(), metadata=who)
    await tail.read()
    requested = a_request(tenant_id=str(tenant_id), user_id=str(user_id))
    subject = f"{topology.REQUESTED}.{tenant_id}"
    await messaging.publish(backend, OutgoingEvent.of(subject, requested, "a-back-end"))
    (enriched,) = await entries_of(tail, 1)
    assert enriched.action_type == activity_pb.ACTION_TYPE_PROFILE_ENRICHED
    logins = [
        activity_pb.NewActivity(user_id=str(each), action_type=activity_pb.ACTION_TYPE_LOGIN)
        for each in (user_id, other)
    ]
    await activity.RecordActivities(
        activity_pb.RecordActivitiesRequest(activities=logins), metadata=who
    )
    await entries_of(tail, 2)
    tail.cancel()

    run = enrichment_pb.RequestEnrichmentRequest(name="Grace Hopper", company="Engines")
    asked = await enrichment.RequestEnrichment(run, metadata=who)
    cancel = runs_pb2.CancelRunRequest(run_id=asked.run.run_id)
    await enrichment.CancelRun(cancel, metadata=who)
    erase = enrichment_pb.EraseProspectRequest(prospect_id=asked.run.prospect_id)
    await enrichment.EraseProspect(erase, metadata=who)
    await activity.EraseUser(activity_pb.EraseUserRequest(user_id=str(other)), metadata=who)
    for bad in (subject, topology.REQUESTED, f"activity.recorded.{tenant_id}",
                f"tenant.erased.{tenant_id}", f"prospect.enrich.completed.{tenant_id}",
                topology.AGGREGATE_DAILY):  # fmt: skip
        await backend.jetstream().publish(bad, b"\xff")
    # Both enrichment and metrics make a dead letter of the erasure.
    letters = [await dead.next_msg(timeout=30) for _ in range(7)]
    assert {each.subject for each in letters} >= {f"dead.{subject}", f"dead.{topology.REQUESTED}"}
    daily = metrics_events.AggregateDaily(date=str(day))
    await messaging.publish(
        backend, OutgoingEvent.of(topology.AGGREGATE_DAILY, daily, "a-back-end")
    )

    verify = metrics_pb.VerifyUsageRequest(**span, thorough=True)
    findings = [
        finding
        async for response in metrics.VerifyUsage(verify, metadata=who)
        for finding in response.findings
    ]
    assert findings == []
    rebuild = metrics_pb.RebuildUsageRequest(tenant_id=str(tenant_id), **span)
    rebuilt = await metrics.RebuildUsage(rebuild, metadata=who)
    assert rebuilt.activity_count == 3
    for channel in channels.values():
        await channel.close()
    await backend.close()
    assert refusals(running.folder) == []


def test_the_services_have_keys_of_their_own_and_nobody_else_may_read_them(
    running: Stack,
) -> None:
    files = {env["PROSPECT_NATS_NKEY_SEED_FILE"] for env in running.environments.values()}
    assert len(files) == 3
    for file in files:
        assert Path(file).stat().st_mode & 0o077 == 0
        assert Path(file).read_text().startswith("SU")
