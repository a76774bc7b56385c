"""Events as anyone on the bus may send them, and whether each came to its end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from nats.aio.client import Client
from prospect.activity.v1 import events_pb2 as activity
from prospect.enrichment.v1 import events_pb2 as enrichment
from prospect.metrics.v1 import events_pb2 as metrics

from chassis.messaging import PROTOBUF, Consumer
from services import topology
from tests.fuzz.messages import Generator

END_SECONDS = 90.0
CONSUMED: Mapping[Consumer, type[Message]] = {
    topology.ENRICH_COMPLETED: enrichment.EnrichmentCompleted,
    topology.ENRICH_REQUESTED: enrichment.EnrichmentRequested,
    topology.ENRICH_REQUESTED_BY_TENANT: enrichment.EnrichmentRequested,
    topology.ENRICHMENT_ERASED: activity.UserErased,
    topology.METRICS_ERASED: activity.UserErased,
    topology.ACTIVITY_RECORDED: activity.ActivitiesRecorded,
    topology.DAILY: metrics.AggregateDaily,
}
HEADERS: tuple[Mapping[str, str], ...] = (
    {},
    {"content-type": PROTOBUF},
    {"Content-Type": "Application/Protobuf; charset=x"},
    {"content-type": "application/json"},
    {"content-type": "text/plain"},
    {"ce-id": "not a uuid", "ce-time": "yesterday", "traceparent": "00-zz"},
    {"ce-id": "x" * 5_000, "ce-type": "other"},
    {"Nats-Expected-Stream": "NO_SUCH"},
    {"x~odd": "1", "empty": ""},
)


class Publisher:
    """Publishes drawn events on every subject that a consumer of ours reads."""

    def __init__(self, client: Client, generator: Generator, tenants: Sequence[uuid.UUID]) -> None:
        self._client = client
        self._generator = generator
        self._tenants = [*(str(each) for each in tenants), "x", str(uuid.UUID(int=0))]
        self.published = 0

    async def publish_any(self) -> None:
        """Draw a consumer, a body and headers, and publish."""
        consumer = self._generator.chosen(list(CONSUMED))
        kind = CONSUMED[consumer]
        tenant = self._generator.chosen(self._tenants)
        named = "tenant_id" in kind.DESCRIPTOR.fields_by_name
        body = self._generator.body(kind, {"tenant_id": tenant} if named else {})
        headers = dict(self._generator.chosen(HEADERS))
        subject = consumer.subject.replace("*", tenant)
        await self._client.publish(subject, body, headers=headers or None)
        self.published += 1

    async def unended(self) -> list[str]:
        """Wait until every event was handled or buried; return the consumers that stand still."""
        try:
            async with asyncio.timeout(END_SECONDS):
                while any((await self.waiting()).values()):
                    await asyncio.sleep(0.5)
        except TimeoutError:
            return [
                f"{name}: {left} events" for name, left in (await self.waiting()).items() if left
            ]
        return []

    async def waiting(self) -> dict[str, int]:
        """Return how many events each consumer has not had yet."""
        jetstream = self._client.jetstream()
        infos: list[Any] = [
            await jetstream.consumer_info(each.stream, each.name) for each in CONSUMED
        ]
        return {info.name: info.num_pending + info.num_ack_pending for info in infos}
