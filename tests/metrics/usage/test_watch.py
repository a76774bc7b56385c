"""Watching: today's totals at first, then each change, of the watcher's own tenant."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import grpc
import pytest
from nats.aio.client import Client
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis.clock import utc_now
from services.cli.operate.services import ServiceName
from tests.harness import Identity, Services, violations
from tests.metrics.calls import next_of, publish, set_zone
from tests.metrics.conftest import Pair


async def test_watching_tells_todays_totals_and_then_each_change(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    call = pair.metrics.WatchUsage(pb.WatchUsageRequest(), metadata=ours.metadata())
    first = await next_of(call)
    assert (first.totals.total_activities, first.active_users) == (0, 0)
    await publish(nats, ours, [utc_now()] * 5)
    seen = await next_of(call)
    while seen.totals.total_logins < 5:
        seen = await next_of(call)
    assert seen.active_users > 0
    call.cancel()


async def test_watching_tells_at_most_once_a_second(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    call = pair.metrics.WatchUsage(pb.WatchUsageRequest(), metadata=ours.metadata())
    told = [await next_of(call)]
    for seed in range(12):
        await publish(nats, ours, [utc_now()], seed)
        await asyncio.sleep(0.1)
    while told[-1].totals.total_logins < 12:
        told.append(await next_of(call))
    moments = [each.read_at.ToDatetime() for each in told]
    gaps = [(b - a).total_seconds() for a, b in pairwise(moments)]
    # A look may be one that another watcher took up to half a second before.
    assert gaps
    assert min(gaps) > 0.4
    call.cancel()


async def test_watching_resumed_says_nothing_until_something_differs(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    call = pair.metrics.WatchUsage(pb.WatchUsageRequest(), metadata=ours.metadata())
    seen = await next_of(call)
    call.cancel()
    again = pb.WatchUsageRequest(resume_token=seen.resume_token)
    call = pair.metrics.WatchUsage(again, metadata=ours.metadata())
    told = asyncio.create_task(next_of(call))
    done, _ = await asyncio.wait([told], timeout=1.5)
    assert not done
    await publish(nats, ours, [utc_now()])
    assert (await told).totals.total_logins == 1
    call.cancel()


async def test_a_watcher_of_another_tenant_is_told_nothing_of_ours(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client
) -> None:
    call = pair.metrics.WatchUsage(pb.WatchUsageRequest(), metadata=theirs.metadata())
    await next_of(call)
    await publish(nats, ours, [utc_now()])
    mine = pair.metrics.WatchUsage(pb.WatchUsageRequest(), metadata=ours.metadata())
    while (await next_of(mine)).totals.total_logins < 1:
        pass
    silent = asyncio.ensure_future(call.read())
    done, _ = await asyncio.wait([silent], timeout=1.5)
    assert not done
    silent.cancel()


async def test_the_day_that_is_watched_is_the_tenants_own(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    now = utc_now()
    # Of these two zones, one is always on another date than UTC.
    zone = "Pacific/Kiritimati" if now.hour >= 10 else "Pacific/Pago_Pago"
    await set_zone(pair, ours, zone)
    call = pair.metrics.WatchUsage(pb.WatchUsageRequest(), metadata=ours.metadata())
    seen = await next_of(call)
    assert seen.date != now.date().isoformat()
    call.cancel()


async def test_a_stopping_replica_says_so_to_its_watchers(
    services: Services, ours: Identity, pair: Pair
) -> None:
    del pair  # activity runs: it has the address that the replica is given
    async with services.running(
        ServiceName.METRICS,
        activity_address=services.addresses[ServiceName.ACTIVITY],
        activity_token_file=services.audit_token_file(),
    ):
        # A channel of its own, since the other is closed before the service stops.
        channel = grpc.aio.insecure_channel(services.addresses[ServiceName.METRICS])
        stub = metrics_api.MetricsServiceStub(channel)
        call = stub.WatchUsage(pb.WatchUsageRequest(), metadata=ours.metadata())
        await next_of(call)
        reading = asyncio.create_task(next_of(call))
    with pytest.raises(grpc.aio.AioRpcError, match="watch again") as ended:
        await reading
    await channel.close()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_resume_token_of_another_tenant_is_refused(
    pair: Pair, ours: Identity, theirs: Identity
) -> None:
    call = pair.metrics.WatchUsage(pb.WatchUsageRequest(), metadata=theirs.metadata())
    token = (await next_of(call)).resume_token
    call.cancel()
    call = pair.metrics.WatchUsage(
        pb.WatchUsageRequest(resume_token=token), metadata=ours.metadata()
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert [name for name, _ in violations(refused.value)] == ["resume_token"]
