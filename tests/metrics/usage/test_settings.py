"""Quotas, zones, erasure, verification and rebuilding, by the service's own RPCs and events."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.metrics.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import messaging
from chassis.clock import to_timestamp, utc_now
from chassis.messaging import OutgoingEvent
from services.metrics.counters import COUNTERS
from tests.harness import Database, Identity, violations
from tests.metrics.conftest import Pair
from tests.metrics.feed import batch
from tests.metrics.usage.test_usage import DAY, USERS, record, some_activities, usage, usage_of

AUDIT = "metrics:audit"
LOGIN = activity_pb.ACTION_TYPE_LOGIN


async def publish(nats: Client, who: Identity, moments: list[datetime], seed: int = 1) -> None:
    """Publish a batch of logins as activity would."""
    event = batch(who.tenant_id, moments, seed, LOGIN)
    outgoing = OutgoingEvent.of(event.subject, event.message, "test")
    await messaging.publish(nats, outgoing)


async def periods(pair: Pair, who: Identity, **request: Any) -> list[pb.PeriodUsage]:
    response = await pair.metrics.GetUsage(pb.GetUsageRequest(**request), metadata=who.metadata())
    return list(response.periods)


async def periods_of(pair: Pair, who: Identity, total: int, **request: Any) -> list[pb.PeriodUsage]:
    async with asyncio.timeout(15):
        while True:
            found = await periods(pair, who, **request)
            if sum(each.count for each in found) == total:
                return found
            await asyncio.sleep(0.02)


async def set_zone(pair: Pair, who: Identity, zone: str) -> None:
    request = pb.SetTimeZoneRequest(time_zone=zone)
    await pair.metrics.SetTimeZone(request, metadata=who.metadata())


@pytest.mark.parametrize("before", [True, False], ids=["counted before", "counted after"])
@pytest.mark.parametrize(
    ("zone", "day", "hours", "inside", "outside"),
    [
        ("Europe/Berlin", "2026-03-29", 23, ("2026-03-28T23:00", "2026-03-29T21:59"),
         ("2026-03-28T22:59", "2026-03-29T22:00")),
        ("Europe/Berlin", "2026-10-25", 25, ("2026-10-24T22:00", "2026-10-25T22:59"),
         ("2026-10-24T21:59", "2026-10-25T23:00")),
        ("Asia/Kathmandu", "2026-05-05", 24, ("2026-05-04T18:15", "2026-05-05T18:14"),
         ("2026-05-04T18:14", "2026-05-05T18:15")),
    ],
)  # fmt: skip
async def test_an_event_is_in_its_local_day(
    pair: Pair, ours: Identity, nats: Client, zone: str, day: str, hours: int,
    inside: tuple[str, str], outside: tuple[str, str], before: bool,
) -> None:  # fmt: skip
    moments = [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in inside + outside]
    year = {"start_date": "2026-01-01", "end_date": "2026-12-31", "grain": pb.USAGE_GRAIN_MONTH}
    if not before:
        await set_zone(pair, ours, zone)
    await publish(nats, ours, moments)
    await periods_of(pair, ours, 4, **year)
    if before:
        await set_zone(pair, ours, zone)
    span = {"start_date": day, "end_date": day}
    (found,) = await periods(pair, ours, grain=pb.USAGE_GRAIN_DAY, **span)
    assert found.count == 2
    by_hour = await periods(pair, ours, grain=pb.USAGE_GRAIN_HOUR, **span)
    assert len(by_hour) == hours
    assert [by_hour[0].count, by_hour[-1].count] == [1, 1]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "localtime", "Factory", "posixrules", "CEST"])
async def test_a_zone_that_is_no_places_is_refused(pair: Pair, ours: Identity, zone: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await set_zone(pair, ours, zone)
    assert violations(refused.value) == [("time_zone", "time_zone.unknown")]


async def test_usage_has_zeros_and_pages_that_hold_everything_once(
    pair: Pair, ours: Identity
) -> None:
    await record(pair, ours, some_activities(60))
    await usage_of(pair, ours, 60)
    first = (datetime.fromisoformat(DAY) - timedelta(days=2)).date().isoformat()
    request = pb.GetUsageRequest(
        start_date=first,
        end_date=DAY,
        grain=pb.USAGE_GRAIN_DAY,
        group_by=[pb.USAGE_DIMENSION_USER, pb.USAGE_DIMENSION_ACTION],
    )
    whole = list((await pair.metrics.GetUsage(request, metadata=ours.metadata())).periods)
    assert len(whole) == 3 * len(USERS) * (len(COUNTERS) - 1)
    assert sum(p.count for p in whole if p.counter != pb.COUNTER_LISTS_CREATED) == 60
    request.page_size, paged = 7, []
    while True:
        response = await pair.metrics.GetUsage(request, metadata=ours.metadata())
        paged += list(response.periods)
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert paged == whole


async def reached(nats: Client, number: int) -> list[events_pb2.UsageQuotaReached]:
    """Return the stream's events once there are so many, and no more in the moment after."""
    jetstream = nats.jetstream()
    async with asyncio.timeout(15):
        while (await jetstream.stream_info("QUOTAS")).state.messages < number:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)  # what must not come has time to come
    assert (await jetstream.stream_info("QUOTAS")).state.messages == number
    return [
        events_pb2.UsageQuotaReached.FromString(
            (await jetstream.get_msg("QUOTAS", place + 1)).data or b""
        )
        for place in range(number)
    ]


async def test_a_limit_is_announced_once_and_the_hard_one_refuses(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    quota = pb.Quota(
        counter=pb.COUNTER_TOTAL_LOGINS, period=pb.QUOTA_PERIOD_DAY, soft_limit=5, hard_limit=8
    )
    await pair.metrics.SetQuota(pb.SetQuotaRequest(quota=quota), metadata=ours.metadata())
    check = pb.CheckQuotaRequest(counter=pb.COUNTER_TOTAL_LOGINS)
    now = utc_now()
    for seed, expected in ((1, True), (2, True), (3, False)):
        await publish(nats, ours, [now] * 3, seed)
        day = now.date().isoformat()
        span = {"start_date": day, "end_date": day, "grain": pb.USAGE_GRAIN_DAY}
        await periods_of(pair, ours, 3 * seed, **span)
        answer = await pair.metrics.CheckQuota(check, metadata=ours.metadata())
        assert answer.allowed is expected
    assert [(e.hard, e.limit) for e in await reached(nats, 2)] == [(False, 5), (True, 8)]


async def test_a_quota_counts_what_was_done_before_it(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    now = utc_now()
    await publish(nats, ours, [now, now, now - timedelta(days=40)])
    span = {"start_date": (now - timedelta(days=60)).date().isoformat()}
    span["end_date"] = now.date().isoformat()
    await periods_of(pair, ours, 3, grain=pb.USAGE_GRAIN_MONTH, **span)
    quota = pb.Quota(counter=pb.COUNTER_TOTAL_LOGINS, period=pb.QUOTA_PERIOD_MONTH, soft_limit=1)
    made = await pair.metrics.SetQuota(pb.SetQuotaRequest(quota=quota), metadata=ours.metadata())
    assert made.quota.used == 2
    assert [e.used for e in await reached(nats, 1)] == [2]


async def test_an_erased_user_is_counted_as_anonymous_also_when_late(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    await record(pair, ours, some_activities(40))
    await usage_of(pair, ours, 40)
    message = activity_events.UserErased(
        tenant_id=str(ours.tenant_id),
        user_id=USERS[0],
        receipt_id=str(uuid.uuid4()),
        erased_at=to_timestamp(utc_now()),
    )
    event = OutgoingEvent.of(f"tenant.erased.{ours.tenant_id}", message, "test")
    await messaging.publish(nats, event)
    async with asyncio.timeout(15):
        while USERS[0] in {row.user_id for row in await usage(pair, ours)}:
            await asyncio.sleep(0.02)
    await record(pair, ours, some_activities(20, seed=8))
    users = {row.user_id for row in await usage_of(pair, ours, 60)}
    assert users == {str(uuid.UUID(int=0)), *USERS[1:]}


async def verify(pair: Pair, who: Identity, **more: Any) -> list[pb.UsageFinding]:
    request = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY, **more)
    call = pair.metrics.VerifyUsage(request, metadata=who.metadata(AUDIT))
    return [finding async for response in call for finding in response.findings]


QUARTERS = "update metrics.usage_metrics_quarter_hours set "


@pytest.mark.parametrize(
    ("damage", "thorough", "kind"),
    [
        ("digest = digest + 1", False, pb.USAGE_FINDING_KIND_DIFFERENT),
        ("total_logins = total_logins + 5, total_activities = total_activities + 5", False,
         pb.USAGE_FINDING_KIND_EXCESS),
        ("user_id = '00000000-0000-0000-0000-00000000abcd' where user_id = 'USER'", True,
         pb.USAGE_FINDING_KIND_EXCESS),
    ],
)  # fmt: skip
async def test_damaged_quarters_are_named_and_rebuilt(
    pair: Pair, ours: Identity, database: Database, damage: str, thorough: bool, kind: int
) -> None:
    await record(pair, ours, some_activities(100))
    right = await usage_of(pair, ours, 100)
    assert await verify(pair, ours, thorough=True) == []
    await database.fetch(QUARTERS + damage.replace("USER", USERS[0]))
    findings = await verify(pair, ours, thorough=thorough)
    assert kind in {each.kind for each in findings}
    assert {each.tenant_id for each in findings} == {str(ours.tenant_id)}
    request = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)
    done = await pair.metrics.RebuildUsage(request, metadata=ours.metadata(AUDIT))
    assert (done.rebuilt_days, done.activity_count) == (1, 100)
    assert await usage(pair, ours) == right
    assert await verify(pair, ours, thorough=True) == []


async def test_what_is_counted_during_rebuilds_is_neither_lost_nor_doubled(
    pair: Pair, ours: Identity
) -> None:
    request = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)

    async def rebuild() -> None:
        for _ in range(10):
            call = pair.metrics.RebuildUsage(request, metadata=ours.metadata(AUDIT))
            assert await call.code() in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}

    async def work() -> None:
        for seed in range(30):
            await record(pair, ours, some_activities(20, seed))

    await asyncio.gather(rebuild(), work())
    await usage_of(pair, ours, 600)
    assert await verify(pair, ours, thorough=True) == []


async def test_an_audit_needs_its_scope(pair: Pair, ours: Identity) -> None:
    request = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pair.metrics.RebuildUsage(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
