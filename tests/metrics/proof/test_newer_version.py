"""What a newer version counts: a replica that does not know it waits for one that does."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import auth
from chassis.auth import Caller
from chassis.clock import new_id, to_timestamp, utc_now
from chassis.consumer import IncomingEvent
from chassis.database import Pool, tenant_transaction
from services.metrics.counters import ACTION_COUNTERS
from services.metrics.events import handlers
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.rebuild import Rebuilder
from services.metrics.proof.reconcile import reconcile
from services.metrics.quotas.rpc import QuotasRpc
from services.metrics.sql import SQL
from services.metrics.store import NewerVersionNeeded
from services.metrics.usage.time_zone_rpc import TimeZoneRpc
from tests.harness import Database, Identity, error_info
from tests.metrics.calls import AUDIT, DAY, NOON, record, some_activities, usage, usage_of
from tests.metrics.conftest import Pair
from tests.metrics.feed import all_applied, batch, counted, no_dead_letters, rollup
from tests.metrics.proof.test_repair import ExpiredLog

metrics_pool = pytest.mark.parametrize("pool", ["metrics"], indirect=True)
NEWER = activity_pb.ACTION_TYPE_LOOKALIKE_SEARCH
NOTHING: Any = None


@pytest.fixture
async def recorded(
    pair: Pair, ours: Identity, monkeypatch: pytest.MonkeyPatch, database: Database
) -> list[pb.DailyUsage]:
    """Usage whose days are damaged, and of which this version no longer knows one action."""
    await record(pair, ours, some_activities(100))
    await usage_of(pair, ours, 100)
    await database.fetch("update metrics.usage_metrics_quarter_hours set digest = digest + 1")
    monkeypatch.delitem(ACTION_COUNTERS, NEWER)
    return await usage(pair, ours)


async def verify_usage(pair: Pair, who: Identity) -> None:
    request = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY)
    async for _ in pair.metrics.VerifyUsage(request, metadata=who.metadata(AUDIT)):
        pass


async def rebuild_usage(pair: Pair, who: Identity) -> None:
    tenant_id = str(who.tenant_id)
    request = pb.RebuildUsageRequest(tenant_id=tenant_id, start_date=DAY, end_date=DAY)
    await pair.metrics.RebuildUsage(request, metadata=who.metadata(AUDIT))


@pytest.mark.parametrize("call", [verify_usage, rebuild_usage])
async def test_a_day_with_an_unknown_action_is_neither_verified_nor_rebuilt(
    pair: Pair,
    ours: Identity,
    recorded: list[pb.DailyUsage],
    call: Callable[[Pair, Identity], Awaitable[None]],
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(pair, ours)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == f"the day has actions that a newer version counts: {NEWER}"
    assert error_info(refused.value).reason == "NEWER_VERSION_NEEDED"
    assert await usage(pair, ours) == recorded


@metrics_pool
async def test_a_day_with_an_unknown_action_is_not_repaired_and_the_event_waits(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, recorded: list[pb.DailyUsage]
) -> None:
    with pytest.raises(NewerVersionNeeded):
        await reconcile(Rebuilder(pool, log, all_applied, no_dead_letters), date.fromisoformat(DAY))
    assert await usage(pair, ours) == recorded


ADD_COUNTER = """
do $$
declare
  held text;
begin
  foreach held in array array['quarter_hours', 'daily', 'daily_totals'] loop
    execute format('alter table metrics.usage_metrics_%1$s
      add column newer bigint not null default 0,
      drop constraint if exists usage_metrics_%1$s_adds_up', held);
    execute format('update metrics.usage_metrics_%s
      set newer = total_activities + 1, total_activities = 2 * total_activities + 1', held);
    execute format('alter table metrics.usage_metrics_%s
      add constraint usage_metrics_%1$s_adds_up check (total_activities = total_logins + newer)',
      held);
  end loop;
end $$
"""


@pytest.fixture
async def counted_by_newer(pool: Pool, database: Database, ours: Identity) -> Identity:
    """A tenant for whom a newer version has counted in a column that this one does not know."""
    await counted(pool, ours.tenant_id, [batch(ours.tenant_id, [NOON] * 9, action=1)])
    await database.fetch(ADD_COUNTER)
    await database.fetch("update metrics.usage_metrics_daily set digest = digest + 1")
    auth.set_caller(Caller(uuid.uuid4(), ours.tenant_id, frozenset()))
    return ours


async def change_zone(pool: Pool, who: Identity) -> None:
    request = pb.SetTimeZoneRequest(time_zone="Asia/Tokyo")
    await TimeZoneRpc(pool).SetTimeZone(request, NOTHING)


async def erase(pool: Pool, who: Identity) -> None:
    user_id = "00000000-0000-0000-0000-000000000001"
    message = activity_events.UserErased(
        tenant_id=str(who.tenant_id), user_id=user_id, erased_at=to_timestamp(utc_now())
    )
    *_, handler = handlers(pool, NOTHING, NOTHING, NOTHING, utc_now)
    await handler.handle(IncomingEvent(new_id(), f"tenant.erased.{who.tenant_id}", message))


async def recount(pool: Pool, who: Identity) -> None:
    await reconcile(
        Rebuilder(pool, ExpiredLog(None), all_applied, no_dead_letters), date.fromisoformat(DAY)
    )


@metrics_pool
@pytest.mark.parametrize("rework", [change_zone, erase, recount])
async def test_rows_with_an_unknown_counter_are_not_rewritten(
    pool: Pool,
    database: Database,
    counted_by_newer: Identity,
    rework: Callable[[Pool, Identity], Awaitable[None]],
) -> None:
    before = await rollup(database, counted_by_newer.tenant_id)
    with pytest.raises(NewerVersionNeeded):
        await rework(pool, counted_by_newer)
    assert await rollup(database, counted_by_newer.tenant_id) == before


@metrics_pool
async def test_a_quota_of_an_unknown_counter_is_listed_and_keeps_what_is_used(
    pool: Pool, database: Database, ours: Identity
) -> None:
    auth.set_caller(Caller(uuid.uuid4(), ours.tenant_id, frozenset()))
    await database.fetch(
        "insert into metrics.quotas values ($1, 'newer', 'day', 1, 0)", ours.tenant_id
    )
    await database.fetch(
        "insert into metrics.quota_usage values ($1, 'newer', 'day', $2, 7)",
        ours.tenant_id,
        utc_now().date(),
    )
    async with tenant_transaction(pool, ours.tenant_id) as connection:
        assert await connection.fetch(SQL.mark_reached, ours.tenant_id) == []
        await connection.execute(SQL.clear_quota_usage, ours.tenant_id)
    listed = await QuotasRpc(pool, NOTHING, utc_now).ListQuotas(pb.ListQuotasRequest(), NOTHING)
    assert [(each.counter, each.used) for each in listed.quotas] == [(pb.COUNTER_UNSPECIFIED, 7)]
