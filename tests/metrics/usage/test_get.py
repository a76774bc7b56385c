"""Usage as it is read: the tenant's own, with its zeros, in pages that hold everything once."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from prospect.metrics.v1 import metrics_service_pb2 as pb

from services.metrics.counters import COUNTERS
from tests.harness import Database, Identity, violations
from tests.metrics.calls import DAY, USERS, record, some_activities, usage, usage_of
from tests.metrics.conftest import Pair


async def test_another_tenants_usage_is_empty_to_us(
    pair: Pair, ours: Identity, theirs: Identity
) -> None:
    await record(pair, theirs, some_activities(20))
    await usage_of(pair, theirs, 20)
    assert await usage(pair, ours) == []


async def test_pages_hold_every_row_once(pair: Pair, ours: Identity) -> None:
    await record(pair, ours, some_activities(60))
    whole = await usage_of(pair, ours, 60)
    request = pb.GetUsageRequest(start_date=DAY, end_date=DAY, page_size=1)
    pages = []
    while True:
        response = await pair.metrics.GetUsage(request, metadata=ours.metadata())
        pages += list(response.rows)
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert pages == whole


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


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"start_date": "yesterday"}, "start_date"),
        ({"start_date": "2026-02-30"}, "start_date"),
        ({"start_date": "2026-02-02", "end_date": "2026-02-01"}, "end_date"),
        ({"start_date": "2020-01-01", "end_date": "2026-01-01"}, "end_date"),
        ({"page_token": "tampered"}, "page_token"),
        ({"user_ids": ["x"]}, "user_ids[0]"),
    ],
)
async def test_a_bad_request_names_its_field(
    pair: Pair, ours: Identity, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await usage(pair, ours, **fields)
    assert [name for name, _ in violations(refused.value)] == [field]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"start_date": ""}, "start_date: must be a day, YYYY-MM-DD"),
        ({"end_date": "2026-02-30"}, "end_date: must be a day, YYYY-MM-DD"),
        ({"start_date": "1960-01-01"}, "start_date: must be from 1972-01-01 to 9000-01-01"),
        ({"end_date": "9001-01-01"}, "end_date: must be from 1972-01-01 to 9000-01-01"),
    ],
)
async def test_a_bad_day_is_told_what_it_must_be(
    pair: Pair, ours: Identity, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await usage(pair, ours, **fields)
    assert refused.value.details() == words
