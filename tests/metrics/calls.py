"""Calls of both services as a tenant makes them, and the wait for what they lead to."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import datetime, timedelta
from typing import Any

from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import messaging
from chassis.clock import new_id, to_timestamp, utc_now
from chassis.messaging import OutgoingEvent
from services import topology
from tests.harness import Database, Identity
from tests.metrics.conftest import Pair
from tests.metrics.feed import ACTIONS, batch

AUDIT = "metrics:audit"
USERS = [str(uuid.uuid4()) for _ in range(3)]
# Yesterday's noon: a finished day, whatever the hour the tests run at.
NOON = (utc_now() - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
DAY = NOON.date().isoformat()


def some_activities(count: int, seed: int = 7) -> list[activity_pb.NewActivity]:
    """Return entries of all kinds, the same for the same seed but for their ids."""
    dice = random.Random(seed)
    return [
        activity_pb.NewActivity(
            activity_id=str(new_id()),
            user_id=dice.choice(USERS),
            action_type=dice.choice(ACTIONS),
            metadata_json=dice.choice(("", '{"new_list": true}', '{"new_list": "yes"}')),
            created_at=to_timestamp(NOON + timedelta(seconds=dice.randrange(-3600, 3600))),
        )
        for _ in range(count)
    ]


async def record(
    pair: Pair, who: Identity, activities: list[activity_pb.NewActivity]
) -> activity_pb.RecordActivitiesResponse:
    """Record entries by RPC."""
    request = activity_pb.RecordActivitiesRequest(activities=activities)
    return await pair.activity.RecordActivities(request, metadata=who.metadata())


async def publish(nats: Client, who: Identity, moments: list[datetime], seed: int = 1) -> None:
    """Publish a batch of logins as activity would."""
    event = batch(who.tenant_id, moments, seed, activity_pb.ACTION_TYPE_LOGIN)
    outgoing = OutgoingEvent.of(event.subject, event.message, "test")
    await messaging.publish(nats, outgoing)


async def usage(pair: Pair, who: Identity, **request: Any) -> list[pb.DailyUsage]:
    """Return the usage by user, of the day unless the request says another."""
    values = {"start_date": DAY, "end_date": DAY} | request
    response = await pair.metrics.GetUsage(pb.GetUsageRequest(**values), metadata=who.metadata())
    return list(response.rows)


async def usage_of(pair: Pair, who: Identity, total: int) -> list[pb.DailyUsage]:
    """Return the day's usage once `total` activities are counted."""
    async with asyncio.timeout(30):
        while True:
            rows = await usage(pair, who)
            if sum(row.total_activities for row in rows) == total:
                return rows
            await asyncio.sleep(0.02)


async def total(pair: Pair, who: Identity) -> int:
    """Return what the day's total says."""
    request = pb.GetUsageRequest(start_date=DAY, end_date=DAY, grain=pb.USAGE_GRAIN_DAY)
    response = await pair.metrics.GetUsage(request, metadata=who.metadata())
    return sum(each.count for each in response.periods)


async def periods(pair: Pair, who: Identity, **request: Any) -> list[pb.PeriodUsage]:
    """Return the usage by period."""
    response = await pair.metrics.GetUsage(pb.GetUsageRequest(**request), metadata=who.metadata())
    return list(response.periods)


async def periods_of(pair: Pair, who: Identity, total: int, **request: Any) -> list[pb.PeriodUsage]:
    """Return the usage by period once `total` activities are counted."""
    async with asyncio.timeout(30):
        while True:
            found = await periods(pair, who, **request)
            if sum(each.count for each in found) == total:
                return found
            await asyncio.sleep(0.02)


async def set_zone(pair: Pair, who: Identity, zone: str) -> None:
    """Change where the tenant's days begin."""
    request = pb.SetTimeZoneRequest(time_zone=zone)
    await pair.metrics.SetTimeZone(request, metadata=who.metadata())


async def summary(pair: Pair, who: Identity, **span: str) -> pb.GetTenantSummaryResponse:
    """Sum up a range of days."""
    request = pb.GetTenantSummaryRequest(**span)
    return await pair.metrics.GetTenantSummary(request, metadata=who.metadata())


async def top(pair: Pair, who: Identity, **request: Any) -> list[pb.TopUser]:
    """Return the day's top users, of all pages."""
    asked, users = pb.ListTopUsersRequest(start_date=DAY, end_date=DAY, **request), []
    while True:
        page = await pair.metrics.ListTopUsers(asked, metadata=who.metadata())
        users += list(page.users)
        asked.page_token = page.next_page_token
        if not asked.page_token:
            return users


async def export(pair: Pair, who: Identity, **span: str) -> list[bytes]:
    """Return the chunks of an export, of the day unless the span says another."""
    request = pb.ExportUsageRequest(**({"start_date": DAY, "end_date": DAY} | span))
    call = pair.metrics.ExportUsage(request, metadata=who.metadata())
    return [each.chunk async for each in call]


async def next_of(call: Any) -> pb.WatchUsageResponse:
    """Return the next response of a watch."""
    response = await asyncio.wait_for(call.read(), 15)
    assert isinstance(response, pb.WatchUsageResponse)
    return response


async def verify(pair: Pair, who: Identity, **more: Any) -> list[pb.UsageFinding]:
    """Return what a verification of the day finds."""
    request = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY, **more)
    call = pair.metrics.VerifyUsage(request, metadata=who.metadata(AUDIT))
    return [finding async for response in call for finding in response.findings]


async def aggregate(nats: Client, date: str, database: Database, seen: int = 0) -> str:
    """Publish the daily event and return the outcome it had for the tenant."""
    message = events_pb2.AggregateDaily(date=date)
    await messaging.publish(nats, OutgoingEvent.of(topology.AGGREGATE_DAILY, message, "test"))
    async with asyncio.timeout(20):
        while True:
            rows = await database.fetch(
                "select outcome from metrics.reconciliations order by reconciled_at"
            )
            if len(rows) > seen:
                return str(rows[-1]["outcome"])
            await asyncio.sleep(0.02)
