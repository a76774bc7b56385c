"""A limit is announced once, whatever order two replicas count in, and whatever comes again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from services.metrics.counting import Recorded
from tests.harness import Database
from tests.metrics.feed import batch
from tests.metrics.replicas import Replicas, two_replicas

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
TODAY = "2026-05-20"
LOGIN = activity_pb.ACTION_TYPE_LOGIN
SEARCH = activity_pb.ACTION_TYPE_SEARCH_EXECUTED


@pytest.fixture
async def replicas(database: Database, nats: Client) -> AsyncIterator[Replicas]:
    async with two_replicas(database, nats, NOW) as replicas:
        yield replicas


def logins(
    replicas: Replicas, batches: int, each: int, moment: datetime = NOW, seed: int = 0
) -> list[Recorded]:
    """Return batches of so many logins each."""
    moments = [moment] * each
    return [
        batch(replicas.tenant_id, moments, seed * 1_000 + place, LOGIN) for place in range(batches)
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_two_replicas_that_cross_limits_at_once_announce_each_once(
    replicas: Replicas, database: Database, seed: int
) -> None:
    await replicas.set_quota(soft_limit=30, hard_limit=60)
    await replicas.count(logins(replicas, 40, 3), seed)
    assert await replicas.announced() == [(TODAY, False, 30), (TODAY, True, 60)]
    rows = await database.fetch("select used from metrics.quota_usage")
    assert [row["used"] for row in rows] == [120]


async def test_every_quota_that_two_replicas_cross_is_announced_once(replicas: Replicas) -> None:
    counters = pb.COUNTER_TOTAL_LOGINS, pb.COUNTER_SEARCHES_EXECUTED, pb.COUNTER_TOTAL_ACTIVITIES
    periods = pb.QUOTA_PERIOD_DAY, pb.QUOTA_PERIOD_MONTH
    for counter in counters:
        for period in periods:
            await replicas.set_quota(period, counter, soft_limit=10, hard_limit=20)
    searches = [batch(replicas.tenant_id, [NOW] * 3, 500 + n, SEARCH) for n in range(20)]
    await replicas.count(logins(replicas, 20, 3) + searches)
    announced = Counter((e.counter, e.period, e.hard) for e in await replicas.events())
    assert announced == {
        (c, p, hard): 1 for c in counters for p in periods for hard in (False, True)
    }


async def test_one_batch_that_passes_both_limits_announces_both(replicas: Replicas) -> None:
    await replicas.set_quota(soft_limit=2, hard_limit=4)
    await replicas.count(logins(replicas, 1, 9))
    assert await replicas.announced() == [(TODAY, False, 2), (TODAY, True, 4)]
    assert {e.used for e in await replicas.events()} == {9}


async def test_a_limit_is_reached_at_its_number_and_not_before(replicas: Replicas) -> None:
    await replicas.set_quota(soft_limit=10)
    await replicas.count(logins(replicas, 1, 9))
    assert await replicas.announced() == []
    await replicas.count(logins(replicas, 1, 1, seed=1))
    assert await replicas.announced() == [(TODAY, False, 10)]


async def test_batches_that_come_again_do_not_cross_again(
    replicas: Replicas, database: Database
) -> None:
    await replicas.set_quota(soft_limit=5, hard_limit=10)
    events = logins(replicas, 6, 2)
    for seed in range(3):
        await replicas.count(events, seed)
    assert await replicas.announced() == [(TODAY, False, 5), (TODAY, True, 10)]
    rows = await database.fetch("select used from metrics.quota_usage")
    assert [row["used"] for row in rows] == [12]


async def test_batches_that_come_again_after_the_quota_was_raised_do_not_cross_it(
    replicas: Replicas,
) -> None:
    await replicas.set_quota(soft_limit=5)
    events = logins(replicas, 3, 2)
    await replicas.count(events)
    await replicas.set_quota(soft_limit=8)
    await replicas.count(events)
    assert await replicas.announced() == [(TODAY, False, 5)]


@pytest.mark.parametrize(
    ("zone", "period", "moment", "start"),
    [
        ("UTC", pb.QUOTA_PERIOD_DAY, "2026-05-04T18:20", "2026-05-04"),
        ("UTC", pb.QUOTA_PERIOD_MONTH, "2026-03-31T18:20", "2026-03-01"),
        ("Asia/Kathmandu", pb.QUOTA_PERIOD_DAY, "2026-05-04T18:20", "2026-05-05"),
        ("Asia/Kathmandu", pb.QUOTA_PERIOD_MONTH, "2026-03-31T18:20", "2026-04-01"),
    ],
)
async def test_late_events_cross_the_limit_of_the_period_they_happened_in(
    replicas: Replicas, zone: str, period: pb.QuotaPeriod.ValueType, moment: str, start: str
) -> None:
    await replicas.set_zone(zone)
    await replicas.set_quota(period, soft_limit=3)
    late = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    await replicas.count(logins(replicas, 2, 2, late))
    assert await replicas.announced() == [(start, False, 3)]


async def test_each_period_is_announced_once(replicas: Replicas) -> None:
    await replicas.set_quota(soft_limit=5)
    days = [NOW - timedelta(days=number) for number in range(3)]
    events = [each for n, day in enumerate(days) for each in logins(replicas, 4, 2, day, n)]
    await replicas.count(events)
    announced = sorted(await replicas.announced())
    assert announced == [(f"2026-05-{day}", False, 5) for day in (18, 19, 20)]


async def test_a_quota_that_is_set_while_its_limit_is_crossed_is_announced_once(
    replicas: Replicas,
) -> None:
    async def set_soon() -> None:
        await asyncio.sleep(0.01)
        await replicas.set_quota(soft_limit=30)

    await asyncio.gather(replicas.count(logins(replicas, 40, 3)), set_soon())
    assert await replicas.announced() == [(TODAY, False, 30)]


async def test_a_limit_that_is_set_again_as_it_was_is_not_announced_again(
    replicas: Replicas,
) -> None:
    await replicas.set_quota(soft_limit=5)
    await replicas.count(logins(replicas, 3, 2))
    await replicas.set_quota(soft_limit=5)
    assert await replicas.announced() == [(TODAY, False, 5)]


async def test_a_limit_in_place_of_one_that_was_announced_is_announced_only_from_above_what_is_used(
    replicas: Replicas,
) -> None:
    await replicas.set_quota(soft_limit=10)
    await replicas.count(logins(replicas, 1, 15))
    for limit in (12, 5, 16):
        await replicas.set_quota(soft_limit=limit)
        assert await replicas.announced() == [(TODAY, False, 10)]
    await replicas.count(logins(replicas, 1, 1, seed=2))
    assert await replicas.announced() == [(TODAY, False, 10), (TODAY, False, 16)]


async def test_a_limit_that_is_raised_is_announced_when_it_is_reached(replicas: Replicas) -> None:
    await replicas.set_quota(soft_limit=5)
    await replicas.count(logins(replicas, 3, 2))
    await replicas.set_quota(soft_limit=8)
    assert await replicas.announced() == [(TODAY, False, 5)]
    await replicas.count(logins(replicas, 3, 2, seed=1))
    assert await replicas.announced() == [(TODAY, False, 5), (TODAY, False, 8)]


async def test_a_quota_that_is_deleted_and_set_anew_is_announced_at_once_for_this_period_only(
    replicas: Replicas,
) -> None:
    await replicas.set_quota(soft_limit=5)
    yesterday = NOW - timedelta(days=1)
    await replicas.count(logins(replicas, 3, 2, yesterday))
    await replicas.count(logins(replicas, 3, 2, seed=1))
    before = [("2026-05-19", False, 5), (TODAY, False, 5)]
    assert await replicas.announced() == before
    await replicas.delete_quota()
    await replicas.set_quota(soft_limit=5)
    assert await replicas.announced() == [*before, (TODAY, False, 5)]


async def test_what_is_counted_without_a_quota_counts_once_there_is_one(replicas: Replicas) -> None:
    await replicas.set_quota(soft_limit=5)
    await replicas.delete_quota()
    await replicas.count(logins(replicas, 2, 2))
    await replicas.set_quota(soft_limit=5)
    assert await replicas.announced() == []
    await replicas.count(logins(replicas, 1, 1, seed=1))
    assert await replicas.announced() == [(TODAY, False, 5)]


async def test_limits_may_be_as_large_as_a_number_goes(
    replicas: Replicas, database: Database
) -> None:
    for limit in (2**62, 2**63 - 1):
        await replicas.set_quota(soft_limit=limit, hard_limit=limit)
    rows = await database.fetch("select soft_limit, hard_limit from metrics.quotas")
    assert [tuple(row) for row in rows] == [(2**63 - 1, 2**63 - 1)]
