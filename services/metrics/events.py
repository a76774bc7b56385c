"""What the metrics service does with events: count what was recorded, reconcile a day."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import grpc
from nats.aio.client import Client
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.metrics.v1 import events_pb2

from chassis import inbox
from chassis.consumer import Handler, IncomingEvent
from chassis.database import Pool, tenant_transaction
from chassis.errors import DependencyAwayError, InvalidArgument
from services import topology
from services.metrics import store
from services.metrics.reconcile import Log, reconcile

APPLIED_SECONDS = 60.0


def handlers(pool: Pool, client: Client, log: Log) -> Sequence[Handler[Any]]:
    """Return the handlers, one a consumer."""

    async def count(event: IncomingEvent[activity_events.ActivitiesRecorded]) -> None:
        """Add a batch to the roll-up, once however often it comes."""
        message = event.message
        if not event.subject.endswith(f".{message.tenant_id}"):
            raise InvalidArgument.field("tenant_id", "subject", "must end the subject")
        tenant_id = UUID(message.tenant_id)
        async with tenant_transaction(pool, tenant_id) as connection:
            consumer = topology.ACTIVITY_RECORDED.name
            if await inbox.first_time(connection, tenant_id, consumer, event.event_id):
                await store.apply(connection, tenant_id, message)

    async def aggregate(event: IncomingEvent[events_pb2.AggregateDaily]) -> None:
        """Reconcile a day; doing it twice changes nothing, so it needs no inbox."""
        try:
            day = date.fromisoformat(event.message.date)
        except ValueError:
            raise InvalidArgument.field("date", "date", "must be a day, YYYY-MM-DD") from None
        try:
            await reconcile(pool, log, lambda: wait_applied(client), day)
        except grpc.aio.AioRpcError as error:
            raise DependencyAwayError(
                f"activity answered {error.code().name}: {error.details()}"
            ) from error

    return (
        Handler(topology.ACTIVITY_RECORDED, activity_events.ActivitiesRecorded, count),
        Handler(topology.DAILY, events_pb2.AggregateDaily, aggregate),
    )


async def wait_applied(client: Client) -> None:
    """Wait until every event that is in the stream by now has been handled."""
    jetstream = client.jetstream()
    consumer = topology.ACTIVITY_RECORDED
    target = (await jetstream.stream_info(consumer.stream)).state.last_seq
    async with asyncio.timeout(APPLIED_SECONDS):
        while True:
            info = await jetstream.consumer_info(consumer.stream, consumer.name)
            handled = info.ack_floor.stream_seq if info.ack_floor else 0
            idle = info.num_pending == 0 and info.num_ack_pending == 0
            if idle or handled >= target:
                return
            await asyncio.sleep(0.05)
