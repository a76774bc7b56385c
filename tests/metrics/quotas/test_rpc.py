"""Quotas by the service's own RPCs and events: announced, checked, and counted from before."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from nats.aio.client import Client
from prospect.metrics.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.clock import utc_now
from tests.harness import Identity
from tests.metrics.calls import periods_of, publish
from tests.metrics.conftest import Pair


async def reached(nats: Client, number: int) -> list[events_pb2.UsageQuotaReached]:
    """Return the stream's events once there are so many, and no more in the moment after."""
    jetstream = nats.jetstream()
    async with asyncio.timeout(30):
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
