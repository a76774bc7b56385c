"""The daily comparison: a day is proven equal to the log, or repaired from it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from nats.aio.client import Client

from tests.harness import Database, Identity
from tests.metrics.calls import DAY, aggregate, record, some_activities, total, usage, usage_of
from tests.metrics.conftest import Pair


async def test_a_day_that_was_counted_right_is_proven_equal(
    pair: Pair, ours: Identity, nats: Client, database: Database
) -> None:
    await record(pair, ours, some_activities(100))
    await usage_of(pair, ours, 100)
    assert await aggregate(nats, DAY, database) == "equal"


@pytest.mark.parametrize(
    "damage",
    [
        "delete from metrics.usage_metrics_daily",
        "update metrics.usage_metrics_daily set digest = digest + 1",
        "update metrics.usage_metrics_daily set total_logins = total_logins + 5,"
        " total_activities = total_activities + 5",
        "update metrics.usage_metrics_daily set user_id = gen_random_uuid(), digest = digest - 7",
        "update metrics.usage_metrics_daily_totals set total_logins = total_logins + 5,"
        " notes_added = notes_added - 5",
        "delete from metrics.usage_metrics_daily_totals",
    ],
)
async def test_a_damaged_day_is_repaired_from_the_log(
    pair: Pair, ours: Identity, nats: Client, database: Database, damage: str
) -> None:
    await record(pair, ours, some_activities(100))
    right = await usage_of(pair, ours, 100)
    await database.fetch(damage)
    assert await aggregate(nats, DAY, database) == "repaired"
    assert await usage(pair, ours) == right
    assert await total(pair, ours) == 100
    assert await aggregate(nats, DAY, database, seen=1) == "equal"


async def test_a_day_counted_without_a_log_is_removed(
    pair: Pair, ours: Identity, nats: Client, database: Database
) -> None:
    await database.fetch(
        "insert into metrics.usage_metrics_daily (date, tenant_id, user_id, total_logins,"
        " total_activities, digest) values ($1, $2, $3, 1, 1, 42)",
        datetime.fromisoformat(DAY).replace(tzinfo=UTC).date(),
        ours.tenant_id,
        ours.user_id,
    )
    assert await aggregate(nats, DAY, database) == "repaired"
    assert await usage(pair, ours) == []
