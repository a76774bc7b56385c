"""Summaries, top users, watching and exporting: what they say is what was counted."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis.clock import utc_now
from services.cli.operate.services import ServiceName
from services.metrics.sql import ANONYMOUS
from tests.harness import Database, Identity, Services, violations
from tests.metrics.conftest import Pair
from tests.metrics.usage.test_settings import periods_of, publish, set_zone
from tests.metrics.usage.test_usage import DAY, record, some_activities, usage, usage_of

MARCH = {"start_date": "2026-03-01", "end_date": "2026-03-31"}


def at(day: str, hour: int = 12) -> datetime:
    """Return an hour of a UTC day."""
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


async def counted(pair: Pair, nats: Client, who: Identity, moments: list[datetime]) -> None:
    """Have logins counted: one a moment, by users of their own choice."""
    await publish(nats, who, moments)
    year = {"start_date": "2026-01-01", "end_date": "2026-12-31", "grain": pb.USAGE_GRAIN_MONTH}
    await periods_of(pair, who, len(moments), **year)


async def summary(pair: Pair, who: Identity, **span: str) -> pb.GetTenantSummaryResponse:
    request = pb.GetTenantSummaryRequest(**span)
    return await pair.metrics.GetTenantSummary(request, metadata=who.metadata())


async def test_a_summary_compares_a_range_with_the_equally_long_one_before(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    days = ["2026-01-28", "2026-01-29", "2026-02-28", "2026-03-01", "2026-03-31", "2026-04-01"]
    await counted(pair, nats, ours, [at(each) for each in days])
    found = await summary(pair, ours, **MARCH)
    assert found.current.totals.total_logins == 2
    assert (found.previous.start_date, found.previous.end_date) == ("2026-01-29", "2026-02-28")
    assert found.previous.totals.total_logins == 2


async def test_a_summary_counts_each_active_user_once_in_each_period(
    pair: Pair, ours: Identity
) -> None:
    activities = some_activities(200)
    await record(pair, ours, activities)
    await usage_of(pair, ours, 200)
    users = len({each.user_id for each in activities})
    week_before = (date.fromisoformat(DAY) - timedelta(days=6)).isoformat()
    found = (await summary(pair, ours, start_date=week_before, end_date=DAY)).current
    assert found.active_users == users
    assert [each.active_users for each in found.daily_active_users] == [0] * 6 + [users]
    assert sum(each.active_users for each in found.weekly_active_users) == users
    assert sum(each.active_users for each in found.monthly_active_users) == users


async def test_weeks_and_months_of_a_summary_are_cut_to_the_range(
    pair: Pair, ours: Identity
) -> None:
    found = (await summary(pair, ours, start_date="2026-02-26", end_date="2026-03-10")).current
    weeks = [each.date for each in found.weekly_active_users]
    assert weeks == ["2026-02-26", "2026-03-02", "2026-03-09"]
    assert [each.date for each in found.monthly_active_users] == ["2026-02-26", "2026-03-01"]


async def top(pair: Pair, who: Identity, **request: Any) -> list[pb.TopUser]:
    """Read all pages."""
    asked, users = pb.ListTopUsersRequest(start_date=DAY, end_date=DAY, **request), []
    while True:
        page = await pair.metrics.ListTopUsers(asked, metadata=who.metadata())
        users += list(page.users)
        asked.page_token = page.next_page_token
        if not asked.page_token:
            return users


async def test_top_users_are_ranked_by_the_counter_in_pages_of_any_size(
    pair: Pair, ours: Identity
) -> None:
    activities = some_activities(300)
    await record(pair, ours, activities)
    await usage_of(pair, ours, 300)
    login = activity_pb.ACTION_TYPE_LOGIN
    logins = Counter(each.user_id for each in activities if each.action_type == login)
    right = sorted(logins.items(), key=lambda each: (-each[1], each[0]))
    for size in (1, 2, 10):
        found = await top(pair, ours, counter=pb.COUNTER_TOTAL_LOGINS, page_size=size)
        assert [(each.user_id, each.count) for each in found] == right
        assert [each.rank for each in found] == list(range(1, len(right) + 1))


async def test_the_anonymous_user_is_neither_on_top_nor_active(
    pair: Pair, ours: Identity, database: Database
) -> None:
    await record(pair, ours, some_activities(30))
    await usage_of(pair, ours, 30)
    await database.fetch(
        "update metrics.usage_metrics_daily set user_id = $1 where user_id in"
        " (select min(user_id::text)::uuid from metrics.usage_metrics_daily)",
        ANONYMOUS,
    )
    ranked = {each.user_id for each in await top(pair, ours)}
    known = {row.user_id for row in await usage(pair, ours)}
    assert known - ranked == {str(ANONYMOUS)}
    found = (await summary(pair, ours, start_date=DAY, end_date=DAY)).current
    assert found.active_users == len(ranked)
    assert found.totals.total_activities == 30


async def next_of(call: Any) -> pb.WatchUsageResponse:
    response = await asyncio.wait_for(call.read(), 15)
    assert isinstance(response, pb.WatchUsageResponse)
    return response


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
    assert len(told) < 12
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


async def export(pair: Pair, who: Identity, **span: str) -> list[bytes]:
    request = pb.ExportUsageRequest(**({"start_date": DAY, "end_date": DAY} | span))
    call = pair.metrics.ExportUsage(request, metadata=who.metadata())
    return [each.chunk async for each in call]


async def test_an_export_is_csv_of_what_the_usage_says(pair: Pair, ours: Identity) -> None:
    await record(pair, ours, some_activities(120))
    rows = await usage_of(pair, ours, 120)
    text = b"".join(await export(pair, ours)).decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert found == [
        {field.name: str(getattr(row, field.name)) for field in row.DESCRIPTOR.fields}
        for row in rows
    ]
    assert text.endswith("\r\n")


async def test_an_export_of_nothing_has_its_header(pair: Pair, ours: Identity) -> None:
    (chunk,) = await export(pair, ours)
    assert chunk.startswith(b"date,user_id,total_logins,")
    assert chunk.count(b"\r\n") == 1


async def test_a_large_export_comes_in_chunks_of_whole_lines(
    pair: Pair, ours: Identity, database: Database
) -> None:
    await database.fetch(
        "insert into metrics.usage_metrics_daily (date, tenant_id, user_id, total_logins,"
        " total_activities) select $1, $2, gen_random_uuid(), n, n from generate_series(1, 5000) n",
        date.fromisoformat(DAY),
        ours.tenant_id,
    )
    chunks = await export(pair, ours)
    assert len(chunks) > 1
    assert all(len(each) <= 256 * 1024 and each.endswith(b"\r\n") for each in chunks)
    assert b"".join(chunks).count(b"\r\n") == 5001


async def test_no_reader_tells_one_tenant_of_another(
    pair: Pair, ours: Identity, theirs: Identity
) -> None:
    await record(pair, theirs, some_activities(20))
    await usage_of(pair, theirs, 20)
    assert await top(pair, ours) == []
    assert (await summary(pair, ours, start_date=DAY, end_date=DAY)).current.active_users == 0
    (chunk,) = await export(pair, ours)
    assert chunk.count(b"\r\n") == 1


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        ("GetTenantSummary", {"start_date": "2026-02-30"}, "start_date"),
        ("ListTopUsers", {"end_date": "2020-01-01"}, "end_date"),
        ("ListTopUsers", {"page_token": "tampered"}, "page_token"),
        ("ListTopUsers", {"counter": 77}, "counter"),
        ("ExportUsage", {"start_date": "2020-01-01"}, "end_date"),
    ],
)
async def test_a_bad_request_names_its_field(
    pair: Pair, ours: Identity, method: str, fields: dict[str, Any], field: str
) -> None:
    request = getattr(pb, f"{method}Request")(**({"start_date": DAY, "end_date": DAY} | fields))
    call = getattr(pair.metrics, method)(request, metadata=ours.metadata())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if method == "ExportUsage" else call)
    assert [name for name, _ in violations(refused.value)] == [field]


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


async def test_a_total_is_the_callers_own_and_leaves_no_tenant_behind(
    pair: Pair, ours: Identity, theirs: Identity, database: Database
) -> None:
    await record(pair, theirs, some_activities(20))
    await usage_of(pair, theirs, 20)
    app = await asyncpg.connect(database.dsn("metrics_app"))
    own = "select coalesce(sum(total_activities), 0) from metrics.daily_totals($1, $2, $2)"
    day = date.fromisoformat(DAY)
    assert await app.fetchval(own, theirs.tenant_id, day) == 20
    assert await app.fetchval(own, ours.tenant_id, day) == 0
    assert await app.fetch("select from metrics.usage_metrics_daily_totals") == []
    await app.close()
