"""Time zones: where local days lie, and a change of zone with counting going on beside it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from nats.aio.client import Client
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from services.cli.operate.services import ServiceName
from services.metrics import events
from services.metrics.counting import Recorded
from services.metrics.usage import time_zone_rpc
from tests.harness import Database, Identity, Services, holding, violations
from tests.metrics.calls import AUDIT, DAY, periods, periods_of, publish, set_zone
from tests.metrics.conftest import Pair
from tests.metrics.feed import batch, rollup, spread
from tests.metrics.replicas import Replicas, two_replicas

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
START = datetime(2026, 3, 28, tzinfo=UTC)
EVERYTHING = "lock table metrics.quotas, metrics.quota_usage, metrics.usage_shadow in share mode"
COUNTED = "lock table metrics.usage_metrics_daily_totals in share mode"
SOON = 30  # seconds in which what is not stopped is done, on a busy machine too


@pytest.fixture
async def replicas(database: Database, nats: Client) -> AsyncIterator[Replicas]:
    async with two_replicas(database, nats, NOW) as replicas:
        yield replicas


def batches(tenant_id: uuid.UUID, seed: int) -> list[Recorded]:
    """Return some of the days around a change of the clock."""
    return [batch(tenant_id, spread(START, timedelta(days=4), 30, seed), seed)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "Pacific/Pago_Pago"])
async def test_what_is_counted_while_days_are_counted_anew_is_in_the_days_of_the_new_zone(
    replicas: Replicas, database: Database, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replicas.count(batches(replicas.tenant_id, 1))
    await replicas.set_quota(pb.QUOTA_PERIOD_MONTH, soft_limit=1_000)
    count, tenant_id = time_zone_rpc._count, replicas.tenant_id

    async def count_and_let_come_in(*arguments: Any) -> None:
        monkeypatch.setattr(time_zone_rpc, "_count", count)
        await count(*arguments)
        await asyncio.wait_for(replicas.count(batches(tenant_id, 2)), SOON)

    monkeypatch.setattr(time_zone_rpc, "_count", count_and_let_come_in)
    await replicas.set_zone(zone)
    await replicas.count(batches(replicas.tenant_id, 3))
    found, used = await rollup(database, replicas.tenant_id), "select used from metrics.quota_usage"
    assert sum(row["used"] for row in await database.fetch(used)) == sum(
        row["total_logins"] for row in found if "user_id" not in row
    )
    replicas.tenant_id = uuid.uuid4()
    await replicas.set_zone(zone)
    for seed in (1, 2, 3):
        await replicas.count(batches(replicas.tenant_id, seed))
    assert found == await rollup(database, replicas.tenant_id)
    assert await database.fetch("select from metrics.usage_shadow") == []


@asynccontextmanager
async def hasty(services: Services) -> AsyncIterator[metrics_api.MetricsServiceAsyncStub]:
    """Run services of which metrics has little time for a call."""
    async with (
        services.running(ServiceName.ACTIVITY),
        services.running(
            ServiceName.METRICS,
            activity_address=services.addresses[ServiceName.ACTIVITY],
            activity_token_file=services.audit_token_file(),
            deadline_seconds=0.3,
        ) as metrics,
    ):
        yield metrics_api.MetricsServiceStub(metrics)


async def test_what_counts_anew_may_take_longer_than_other_calls(
    services: Services, ours: Identity, database: Database
) -> None:
    zone = pb.SetTimeZoneRequest(time_zone="Europe/Berlin")
    days = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)
    quota = pb.SetQuotaRequest(
        quota=pb.Quota(counter=pb.COUNTER_TOTAL_LOGINS, period=pb.QUOTA_PERIOD_DAY, soft_limit=1)
    )
    async with hasty(services) as metrics:
        async with holding(database, EVERYTHING):
            metadata = ours.metadata(f"metrics:admin {AUDIT}")
            change = metrics.SetTimeZone(zone, metadata=metadata)
            rebuild = metrics.RebuildUsage(days, metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await metrics.SetQuota(quota, metadata=metadata)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await asyncio.sleep(0.5)
        assert (await change).settings.time_zone == "Europe/Berlin"
        assert (await rebuild).rebuilt_days == 1


async def test_a_rebuild_says_so_where_events_wait_to_be_counted(
    services: Services, ours: Identity, nats: Client, database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(events, "APPLIED_SECONDS", 0.5)
    days = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)
    async with hasty(services) as metrics, holding(database, COUNTED):
        await publish(nats, ours, [NOW])
        with pytest.raises(grpc.aio.AioRpcError, match="events wait to be counted") as refused:
            await metrics.RebuildUsage(days, metadata=ours.metadata(AUDIT))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


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
async def test_a_time_zone_that_is_not_a_place_is_refused(
    pair: Pair, ours: Identity, zone: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await set_zone(pair, ours, zone)
    assert violations(refused.value) == [("time_zone", "time_zone.unknown")]
