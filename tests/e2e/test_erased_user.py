"""After a user is erased no table, no dead letter and no log names the user; other events expire.

What other streams hold is ids, and nothing that was typed.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from google.protobuf.message import Message
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.enrichment.v1 import enrichment_service_pb2 as enrichment_pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as enrichment_api
from prospect.enrichment.v1 import events_pb2 as enrichment_events

from chassis import messaging
from chassis.messaging import OutgoingEvent
from services import topology
from services.cli.operate.services import ServiceName
from tests.enrichment.test_service import finished, requested, sandbox_settings
from tests.harness import Database, Identity, SandboxDesk, Services
from tests.left_over import events_with, tables_with

MARK = "xqzmark"
NOBODY = str(uuid.UUID(int=0))
OTHER = str(uuid.uuid4())
USAGE = "metrics.usage_metrics_daily"


def entries(who: Identity) -> activity_pb.RecordActivitiesRequest:
    """Return an entry of the user with a mark in each text."""
    entry = activity_pb.NewActivity(
        user_id=str(who.user_id),
        action_type=activity_pb.ACTION_TYPE_ADD_TO_LIST,
        target_id=MARK,
        user_agent=MARK,
        ip_address="203.0.113.7",
        metadata_json=f'{{"note": "{MARK}"}}',
    )
    return activity_pb.RecordActivitiesRequest(activities=[entry])


def broken_events(who: Identity) -> dict[str, Message]:
    """Return events that name the user and cannot be handled, by their subjects."""
    tenant_id, user_id = str(who.tenant_id), str(who.user_id)
    completed = enrichment_events.EnrichmentCompleted(
        tenant_id=tenant_id,
        user_id=user_id,
        run_id=str(uuid.uuid4()),
        prospect_id=str(uuid.uuid4()),
        complete=["exa"],
        completed_at={"seconds": 253_402_300_799},  # type: ignore[arg-type]
    )
    recorded = activity_events.ActivitiesRecorded(
        tenant_id=tenant_id,
        activity_ids=[str(uuid.uuid4())] * 2,
        user_ids=[user_id, OTHER],
        action_types=[activity_pb.ACTION_TYPE_LOGIN] * 2,
        created_at_micros=[-1, -1],
    )
    return {
        topology.REQUESTED: requested(who, company_cik="none", title=MARK),
        f"{topology.REQUESTED}.{tenant_id}": requested(who, company_cik="none", title=MARK),
        f"prospect.enrich.completed.{tenant_id}": completed,
        f"activity.recorded.{tenant_id}": recorded,
    }


async def leave_dead_letters(nats: Client, who: Identity) -> set[str]:
    """Have events become dead letters, an erasure of the user for each consumer among them."""
    events = broken_events(who)
    for subject, message in events.items():
        await messaging.publish(nats, OutgoingEvent.of(subject, message, "test"))
    subject = f"dead.tenant.erased.{who.tenant_id}"
    for consumer in (topology.METRICS_ERASED, topology.ENRICHMENT_ERASED):
        erased = activity_events.UserErased(
            tenant_id=str(who.tenant_id), user_id=str(who.user_id), receipt_id=str(uuid.uuid4())
        )
        headers = {"Prospect-Dead-Consumer": consumer.name}
        await nats.jetstream().publish(subject, erased.SerializeToString(), headers=headers)
    letters = {f"dead.{each}" for each in events} | {subject}
    async with asyncio.timeout(30):
        while not letters <= set(await events_with(nats, str(who.user_id))):
            await asyncio.sleep(0.05)
    return letters


async def handled_by_all(nats: Client) -> None:
    """Wait until both services have handled the erasure."""
    async with asyncio.timeout(30):
        for consumer in (topology.METRICS_ERASED, topology.ENRICHMENT_ERASED):
            while True:
                info = await nats.jetstream().consumer_info(consumer.stream, consumer.name)
                if info.ack_floor and info.ack_floor.stream_seq:
                    break
                await asyncio.sleep(0.05)


async def test_nothing_names_an_erased_user_but_events_that_hold_ids_and_expire(
    services: Services,
    sandbox_desk: SandboxDesk,
    ours: Identity,
    nats: Client,
    database: Database,
    capfd: pytest.CaptureFixture[str],
) -> None:
    user_id = str(ours.user_id)
    settings: dict[str, Any] = {
        "activity_address": "127.0.0.1:1",
        "activity_token_file": services.audit_token_file(),
    }
    async with (
        services.running(ServiceName.ACTIVITY) as activity_channel,
        services.running(
            ServiceName.ENRICHMENT, **sandbox_settings(sandbox_desk.url)
        ) as enrichment_channel,
        services.running(ServiceName.METRICS, **settings),
    ):
        activity: Any = activity_api.ActivityServiceStub(activity_channel)
        enrichment: Any = enrichment_api.EnrichmentServiceStub(enrichment_channel)
        await activity.RecordActivities(entries(ours), metadata=ours.metadata())
        gone = await finished(enrichment, ours, name=MARK)
        await finished(enrichment, ours)
        erasure = enrichment_pb.EraseProspectRequest(prospect_id=gone.prospect_id)
        await enrichment.EraseProspect(erasure, metadata=ours.metadata())
        letters = await leave_dead_letters(nats, ours)
        async with asyncio.timeout(30):
            while USAGE not in await tables_with(database, user_id):
                await asyncio.sleep(0.05)
        request = activity_pb.EraseUserRequest(user_id=user_id)
        receipt = (await activity.EraseUser(request, metadata=ours.metadata())).receipt
        await handled_by_all(nats)
        async with asyncio.timeout(30):  # until what was on its way is published and handled
            while await tables_with(database, user_id):
                await asyncio.sleep(0.05)
        assert await tables_with(database, MARK) == set()
        assert user_id not in str(receipt)
        naming = set(await events_with(nats, user_id))
        tenant = str(ours.tenant_id)
        assert naming == {
            f"activity.recorded.{tenant}",
            f"prospect.enrich.completed.{tenant}",
            f"tenant.erased.{tenant}",
        }
        assert await events_with(nats, MARK) == []
        kept = {each for each in letters if each in await events_with(nats, NOBODY)}
        assert kept == {
            f"dead.activity.recorded.{tenant}",
            f"dead.prospect.enrich.completed.{tenant}",
        }
        assert f"dead.activity.recorded.{tenant}" in await events_with(nats, OTHER)
    printed = "".join(capfd.readouterr())
    assert user_id not in printed
    assert MARK not in printed
