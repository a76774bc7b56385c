"""Counting: in any order, however often, by any number at once, the same roll-up."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prospect.activity.v1 import activity_service_pb2 as activity_pb

from chassis.database import Pool
from chassis.outbox import Relay
from services.metrics.counting import Counting
from tests.harness import Database, Identity
from tests.metrics.calls import record, some_activities, usage_of
from tests.metrics.conftest import Pair
from tests.metrics.feed import DAYS, batch, counted, rollup, spread

metrics_pool = pytest.mark.parametrize("pool", ["metrics"], indirect=True)
START = datetime(2026, 3, 10, tzinfo=UTC)


@metrics_pool
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_any_order_and_any_repeats_give_the_same_rollup(
    database: Database, pool: Pool, data: st.DataObject
) -> None:
    once, often = uuid.uuid4(), uuid.uuid4()
    moments = [spread(START, timedelta(days=2), 20, seed) for seed in range(5)]
    events = [batch(often, each, seed) for seed, each in enumerate(moments)]
    await counted(pool, once, [batch(once, each, seed) for seed, each in enumerate(moments)])
    places = data.draw(st.lists(st.integers(0, 4), max_size=12)) + data.draw(
        st.permutations(range(5))
    )
    size = data.draw(st.integers(1, 5))
    for start in range(0, len(places), size):
        await counted(pool, often, [events[each] for each in places[start : start + size]])
    assert await rollup(database, often) == await rollup(database, once)


@metrics_pool
async def test_replicas_that_count_at_once_never_deadlock(database: Database, pool: Pool) -> None:
    tenant, alone = uuid.uuid4(), uuid.uuid4()
    moments = [spread(START, timedelta(days=1), 100, seed) for seed in range(20)]
    events = [batch(tenant, each, seed) for seed, each in enumerate(moments)]
    shuffled = random.Random(3).sample(events, len(events))
    await asyncio.gather(
        *(counted(pool, tenant, events[n : n + 4]) for n in range(0, 20, 4)),
        *(counted(pool, tenant, shuffled[n : n + 4]) for n in range(0, 20, 4)),
    )
    await counted(pool, alone, [batch(alone, each, seed) for seed, each in enumerate(moments)])
    assert await rollup(database, tenant) == await rollup(database, alone)


@metrics_pool
async def test_a_batch_that_cannot_be_counted_fails_alone(database: Database, pool: Pool) -> None:
    tenant, alone = uuid.uuid4(), uuid.uuid4()
    moments = spread(START, timedelta(days=1), 10)
    good = [batch(tenant, moments, seed) for seed in range(5)]
    bad = batch(tenant, moments, 9)
    bad.message.created_at_micros[3] = 2**62  # no time that Postgres has
    counting = Counting(pool, Mock(Relay))
    done = await asyncio.gather(*map(counting.count, [bad, *good]), return_exceptions=True)
    assert [each is None for each in done] == [False, True, True, True, True, True]
    await counted(pool, alone, [batch(alone, moments, seed) for seed in range(5)])
    assert await rollup(database, tenant) == await rollup(database, alone)


@metrics_pool
async def test_what_readers_read_does_not_grow_with_what_is_recorded(
    database: Database, pool: Pool
) -> None:
    tenant = uuid.uuid4()
    moments = spread(START, timedelta(minutes=15), 100)
    await counted(pool, tenant, [batch(tenant, moments, seed) for seed in range(5)])
    before = await rollup(database, tenant)
    for start in range(5, 105, 50):
        group = [batch(tenant, moments, seed) for seed in range(start, start + 50)]
        await counted(pool, tenant, group)
    after = await rollup(database, tenant)
    assert len(after) == len(before)
    activities = [sum(row["total_activities"] for row in rows) for rows in (before, after)]
    assert activities[1] == 21 * activities[0]


@metrics_pool
async def test_a_late_event_changes_the_day_it_happened_in(database: Database, pool: Pool) -> None:
    tenant = uuid.uuid4()
    await counted(pool, tenant, [batch(tenant, [START + timedelta(days=1)], 1)])
    await counted(pool, tenant, [batch(tenant, [START], 2)])
    rows = await database.fetch(DAYS, tenant)
    assert sorted(row["date"].isoformat() for row in rows) == ["2026-03-10", "2026-03-11"]


async def test_what_was_recorded_is_counted_by_user_and_action(pair: Pair, ours: Identity) -> None:
    activities = some_activities(300)
    await record(pair, ours, activities)
    rows = await usage_of(pair, ours, 300)
    logins = Counter(
        a.user_id for a in activities if a.action_type == activity_pb.ACTION_TYPE_LOGIN
    )
    assert {row.user_id: row.total_logins for row in rows} == dict(logins)


async def test_only_a_new_list_counts_as_created(pair: Pair, ours: Identity) -> None:
    activities = some_activities(300)
    await record(pair, ours, activities)
    rows = await usage_of(pair, ours, 300)
    additions = [a for a in activities if a.action_type == activity_pb.ACTION_TYPE_ADD_TO_LIST]
    made = [a for a in additions if a.metadata_json == '{"new_list": true}']
    assert sum(row.list_additions for row in rows) == len(additions)
    assert sum(row.lists_created for row in rows) == len(made)


async def test_an_activity_sent_twice_is_counted_once(pair: Pair, ours: Identity) -> None:
    activities = some_activities(50)
    await record(pair, ours, activities)
    await record(pair, ours, activities + some_activities(10, seed=8))
    await usage_of(pair, ours, 60)
