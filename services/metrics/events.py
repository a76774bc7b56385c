"""What the metrics service does with events: count, reconcile a day, erase a user."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.js import JetStreamContext
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.metrics.v1 import events_pb2

from chassis import inbox
from chassis.clock import Clock
from chassis.consumer import Handler, IncomingEvent
from chassis.database import Pool
from chassis.dead_letters import rename_in_letters
from chassis.errors import InvalidArgument
from chassis.messaging import DEAD_LETTER_PREFIX, DEAD_LETTERS, Consumer, erase_stored
from chassis.outbox import Relay
from chassis.validation import parse_time
from services import topology
from services.metrics import store
from services.metrics.counting import Counting
from services.metrics.proof.rebuild import EventsNotApplied, Rebuilder
from services.metrics.proof.reconcile import reconcile
from services.metrics.sql import ANONYMOUS, SQL

APPLIED_SECONDS = 60.0
RETRIED_SECONDS = 5.0
LOST = "the broker has lost events, which are told again; try again in a moment"


def handlers(
    pool: Pool, client: Client, relay: Relay, rebuilder: Rebuilder, clock: Clock
) -> Sequence[Handler[Any]]:
    """Return the handlers, one a consumer."""
    counting = Counting(pool, relay)

    async def aggregate(event: IncomingEvent[events_pb2.AggregateDaily]) -> None:
        """Reconcile a day; doing it twice changes nothing, so it needs no inbox."""
        yesterday = clock().date() - timedelta(days=1)
        try:
            day = date.fromisoformat(event.message.date or yesterday.isoformat())
        except ValueError:
            raise InvalidArgument.field("date", "date", "must be a day, YYYY-MM-DD") from None
        await pool.execute(SQL.drop_old_shadows)
        try:
            await reconcile(rebuilder, day)
        finally:
            relay.wake()

    async def erase_user(event: IncomingEvent[activity_events.UserErased]) -> None:
        """Count what a user did as the anonymous user's, also what is counted later."""
        await _erase(pool, client, event)

    return (
        Handler(
            topology.ACTIVITY_RECORDED,
            activity_events.ActivitiesRecorded,
            counting.count,
            tenant_in_subject=True,
        ),
        Handler(topology.DAILY, events_pb2.AggregateDaily, aggregate),
        Handler(
            topology.METRICS_ERASED, activity_events.UserErased, erase_user, tenant_in_subject=True
        ),
    )


async def _erase(
    pool: Pool, client: Client, event: IncomingEvent[activity_events.UserErased]
) -> None:
    tenant_id, user_id = UUID(event.message.tenant_id), UUID(event.message.user_id)
    consumer = topology.METRICS_ERASED.name
    erased_at = parse_time("erased_at", event.message.erased_at)
    if user_id == ANONYMOUS:
        return
    async with store.rework(pool, tenant_id) as connection:
        await store.lock_rework(connection, tenant_id)
        await store.lock_exclusive(connection, tenant_id)
        if await inbox.first_time(connection, tenant_id, consumer, event.event_id):
            await connection.execute(SQL.remember_erasure, tenant_id, user_id, erased_at)
            await connection.execute(SQL.erase_quarters, tenant_id, user_id)
            await connection.execute(SQL.erase_days, tenant_id, user_id)
            await connection.execute(SQL.erase_shadows, tenant_id, user_id)
            await connection.execute(SQL.erase_findings, tenant_id, user_id)
    # After COMMIT, and for a repeat as well: the delivery before may have ended in between.
    await _erase_letters(client, tenant_id, user_id)


async def _erase_letters(client: Client, tenant_id: UUID, user_id: UUID) -> None:
    """Remove a user from dead letters: batches stay, to be counted; erasures have had their effect.

    An erasure that is still to be handled elsewhere stays as well.
    """
    await rename_in_letters(client, f"activity.recorded.{tenant_id}", user_id, ANONYMOUS)
    erasures = f"{DEAD_LETTER_PREFIX}.tenant.erased.{tenant_id}"
    names = str(user_id), topology.METRICS_ERASED.name
    await erase_stored(client, DEAD_LETTERS, erasures, *names)


async def wait_applied(client: Client, published: int = 0) -> None:
    """Wait until the events published so far that change counts are handled: batches, erasures.

    But for batches that come again and again: proof/retried_events.py says whose they are. Raises
    EventsNotApplied where the stream of batches does not reach to `published`, or a stream begins
    anew meanwhile: what it has lost is told again, and counted then.
    """
    jetstream = client.jetstream()
    consumers = (topology.ACTIVITY_RECORDED, topology.METRICS_ERASED)
    before = [await _end_of(jetstream, each) for each in consumers]
    if before[0][1] < published:
        raise EventsNotApplied(LOST)
    try:
        async with asyncio.timeout(APPLIED_SECONDS):
            for consumer, (_, target) in zip(consumers, before, strict=True):
                await _wait_handled(jetstream, consumer, target)
    except TimeoutError:
        raise EventsNotApplied("events wait to be counted; try again in a moment") from None
    for consumer, (created, target) in zip(consumers, before, strict=True):
        now = await _end_of(jetstream, consumer)
        if now[0] != created or now[1] < target:
            raise EventsNotApplied(LOST)


async def _end_of(jetstream: JetStreamContext, consumer: Consumer) -> tuple[object, int]:
    """Return when a consumer's stream was made, and its last sequence."""
    info = await jetstream.stream_info(consumer.stream)
    return info.created, info.state.last_seq


async def _wait_handled(jetstream: JetStreamContext, consumer: Consumer, target: int) -> None:
    began = asyncio.get_running_loop().time()
    while True:
        info = await jetstream.consumer_info(consumer.stream, consumer.name)
        handled = info.ack_floor.stream_seq if info.ack_floor else 0
        idle = info.num_pending == 0 and info.num_ack_pending == 0
        if idle or handled >= target:
            return
        tried = info.delivered is not None and info.delivered.stream_seq >= target
        patient = asyncio.get_running_loop().time() - began < RETRIED_SECONDS
        only_retries = info.num_ack_pending == info.num_redelivered or not patient
        if consumer == topology.ACTIVITY_RECORDED and tried and only_retries:
            return
        await asyncio.sleep(0.05)
