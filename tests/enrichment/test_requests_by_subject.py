"""Requests by event: whose tenant a publisher may name, by the subject that he publishes on."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis import messaging
from chassis.messaging import OutgoingEvent
from services import topology
from services.cli.operate.services import ServiceName
from tests.chassis.test_dead_letters import a_request
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Database, Identity, Services

SETTINGS = sandbox_settings("http://127.0.0.1:1")


@pytest.fixture
async def dead(nats: Client) -> asyncio.Queue[Msg]:
    letters: asyncio.Queue[Msg] = asyncio.Queue()
    await nats.subscribe("dead.>", cb=letters.put)
    return letters


async def publish(nats: Client, subject: str, tenant_id: UUID) -> None:
    request = a_request(tenant_id=str(tenant_id))
    await messaging.publish(nats, OutgoingEvent.of(subject, request, "a-back-end"))


async def tenants(database: Database, count: int) -> list[UUID]:
    """Return whose runs there are, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            rows = await database.fetch("select tenant_id from enrichment.runs")
            if len(rows) >= count:
                return [row["tenant_id"] for row in rows]
            await asyncio.sleep(0.02)


async def reason_of(dead: asyncio.Queue[Msg]) -> str:
    letter = await asyncio.wait_for(dead.get(), 20)
    return (letter.headers or {})["Prospect-Dead-Reason"]


async def test_a_request_for_another_tenant_than_its_subjects_is_a_dead_letter(
    services: Services, nats: Client, database: Database, dead: asyncio.Queue[Msg],
    ours: Identity, theirs: Identity,
) -> None:  # fmt: skip
    subject = f"{topology.REQUESTED}.{ours.tenant_id}"
    async with services.running(ServiceName.ENRICHMENT, **SETTINGS):
        await publish(nats, subject, theirs.tenant_id)
        assert await reason_of(dead) == "tenant_id: must end the subject"
        await publish(nats, subject, ours.tenant_id)
        assert await tenants(database, 1) == [ours.tenant_id]


@pytest.mark.parametrize("plain", [True, False])
async def test_a_request_without_a_tenant_in_its_subject_is_taken_where_its_publishers_are_trusted(
    services: Services, nats: Client, database: Database, dead: asyncio.Queue[Msg],
    ours: Identity, plain: bool,
) -> None:  # fmt: skip
    settings = SETTINGS | {"plain_requests": plain}
    async with services.running(ServiceName.ENRICHMENT, **settings):
        await publish(nats, topology.REQUESTED, ours.tenant_id)
        if plain:
            assert await tenants(database, 1) == [ours.tenant_id]
        else:
            said = "a request is published on prospect.enrich.requested.<tenant> here"
            assert await reason_of(dead) == said
            assert await tenants(database, 0) == []
