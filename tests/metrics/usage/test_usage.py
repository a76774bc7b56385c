"""Usage: every activity counted once, and the roll-up proven equal to the log."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.metrics.v1 import events_pb2
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import messaging
from chassis.clock import new_id, to_timestamp, utc_now
from chassis.messaging import OutgoingEvent
from services import topology
from tests.harness import Database, Identity, violations
from tests.metrics.conftest import Pair
from tests.metrics.feed import ACTIONS

USERS = [str(uuid.uuid4()) for _ in range(3)]
# Yesterday's noon: a finished day, whatever the hour the tests run at.
NOON = (utc_now() - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
DAY = NOON.date().isoformat()


def some_activities(count: int, seed: int = 7) -> list[activity_pb.NewActivity]:
    """Return entries of all kinds, the same for the same seed but for their ids."""
    dice = random.Random(seed)
    return [
        activity_pb.NewActivity(
            activity_id=str(new_id()),
            user_id=dice.choice(USERS),
            action_type=dice.choice(ACTIONS),
            metadata_json=dice.choice(("", '{"new_list": true}', '{"new_list": "yes"}')),
            created_at=to_timestamp(NOON + timedelta(seconds=dice.randrange(-3600, 3600))),
        )
        for _ in range(count)
    ]


async def total(pair: Pair, who: Identity) -> int:
    """Return what the day's total says."""
    request = pb.GetUsageRequest(start_date=DAY, end_date=DAY, grain=pb.USAGE_GRAIN_DAY)
    response = await pair.metrics.GetUsage(request, metadata=who.metadata())
    return sum(each.count for each in response.periods)


async def record(
    pair: Pair, who: Identity, activities: list[activity_pb.NewActivity]
) -> activity_pb.RecordActivitiesResponse:
    request = activity_pb.RecordActivitiesRequest(activities=activities)
    return await pair.activity.RecordActivities(request, metadata=who.metadata())


async def usage(pair: Pair, who: Identity, **request: Any) -> list[pb.DailyUsage]:
    values = {"start_date": DAY, "end_date": DAY} | request
    response = await pair.metrics.GetUsage(pb.GetUsageRequest(**values), metadata=who.metadata())
    return list(response.rows)


async def usage_of(pair: Pair, who: Identity, total: int) -> list[pb.DailyUsage]:
    """Return the day's usage once `total` activities are counted."""
    async with asyncio.timeout(15):
        while True:
            rows = await usage(pair, who)
            if sum(row.total_activities for row in rows) == total:
                return rows
            await asyncio.sleep(0.02)


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


async def test_an_event_delivered_twice_is_counted_once(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    message = activity_events.ActivitiesRecorded(
        tenant_id=str(ours.tenant_id),
        activity_ids=[str(uuid.uuid4())],
        user_ids=[USERS[0]],
        action_types=[activity_pb.ACTION_TYPE_LOGIN],
        created_at_micros=[int(NOON.timestamp() * 1_000_000)],
    )
    event = OutgoingEvent.of(f"activity.recorded.{ours.tenant_id}", message, "test")
    await messaging.publish(nats, event)
    repeat = event.headers() | {"Nats-Msg-Id": "another"}
    await nats.jetstream().publish(event.subject, event.body, headers=repeat)
    await record(pair, ours, some_activities(5))
    await usage_of(pair, ours, 6)


async def test_an_event_under_another_tenants_subject_is_a_dead_letter(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client
) -> None:
    dead = await nats.subscribe("dead.>")
    message = activity_events.ActivitiesRecorded(
        tenant_id=str(theirs.tenant_id),
        activity_ids=[str(uuid.uuid4())],
        user_ids=[USERS[0]],
        action_types=[activity_pb.ACTION_TYPE_LOGIN],
        created_at_micros=[int(NOON.timestamp() * 1_000_000)],
    )
    subject = f"activity.recorded.{ours.tenant_id}"
    await messaging.publish(nats, OutgoingEvent.of(subject, message, "test"))
    letter = await dead.next_msg(timeout=10)
    assert letter.headers
    assert letter.headers["Prospect-Dead-Reason"].startswith("tenant_id:")


async def test_a_moment_that_no_calendar_has_is_a_dead_letter_and_stops_no_other_event(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    dead = await nats.subscribe("dead.>")
    message = activity_events.ActivitiesRecorded(
        tenant_id=str(ours.tenant_id),
        activity_ids=[str(uuid.uuid4())],
        user_ids=[USERS[0]],
        action_types=[activity_pb.ACTION_TYPE_LOGIN],
        created_at_micros=[2**63 - 1],
    )
    subject = f"activity.recorded.{ours.tenant_id}"
    await messaging.publish(nats, OutgoingEvent.of(subject, message, "test"))
    await record(pair, ours, some_activities(20))
    letter = await dead.next_msg(timeout=10)
    assert letter.headers
    assert letter.headers["Prospect-Dead-Reason"].startswith("created_at_micros[0]:")
    await usage_of(pair, ours, 20)


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


async def aggregate(nats: Client, date: str, database: Database, seen: int = 0) -> str:
    """Publish the daily event and return the outcome it had for the tenant."""
    message = events_pb2.AggregateDaily(date=date)
    await messaging.publish(nats, OutgoingEvent.of(topology.AGGREGATE_DAILY, message, "test"))
    async with asyncio.timeout(20):
        while True:
            rows = await database.fetch(
                "select outcome from metrics.reconciliations order by reconciled_at"
            )
            if len(rows) > seen:
                return str(rows[-1]["outcome"])
            await asyncio.sleep(0.02)


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
