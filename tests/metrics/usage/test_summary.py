"""Summaries and top users: what they say is what was counted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta

from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from services.metrics.sql import ANONYMOUS
from tests.harness import Database, Identity
from tests.metrics.calls import (
    DAY,
    periods_of,
    publish,
    record,
    some_activities,
    summary,
    top,
    usage,
    usage_of,
)
from tests.metrics.conftest import Pair

MARCH = {"start_date": "2026-03-01", "end_date": "2026-03-31"}


def at(day: str, hour: int = 12) -> datetime:
    """Return an hour of a UTC day."""
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


async def counted(pair: Pair, nats: Client, who: Identity, moments: list[datetime]) -> None:
    """Have logins counted: one a moment, by users of their own choice."""
    await publish(nats, who, moments)
    year = {"start_date": "2026-01-01", "end_date": "2026-12-31", "grain": pb.USAGE_GRAIN_MONTH}
    await periods_of(pair, who, len(moments), **year)


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
