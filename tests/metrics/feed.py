"""Batches as activity publishes them, counted without the services in between."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from typing import Any

from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events

from chassis.clock import new_id
from chassis.consumer import IncomingEvent
from chassis.database import Pool, tenant_transaction
from services.metrics.counting import Recorded, count
from tests.harness import Database

ACTIONS = sorted(set(activity_pb.ActionType.values()) - {activity_pb.ACTION_TYPE_UNSPECIFIED})
USERS = [str(uuid.UUID(int=number + 1)) for number in range(4)]
SLOTS = "select * from metrics.usage_metrics_quarter_hours where tenant_id = $1 order by 1, 2, 3"
TOTALS = "select * from metrics.usage_metrics_daily_totals where tenant_id = $1 order by 2"
DAYS = "select * from metrics.usage_metrics_daily where tenant_id = $1 order by 1, 2, 3"


def batch(
    tenant_id: uuid.UUID, moments: Sequence[datetime], seed: int = 1, action: int | None = None
) -> Recorded:
    """Return an event of one entry a moment."""
    dice = random.Random(seed)
    actions = [action or dice.choice(ACTIONS) for _ in moments]
    message = activity_events.ActivitiesRecorded(
        tenant_id=str(tenant_id),
        activity_ids=[str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in moments],
        user_ids=[dice.choice(USERS) for _ in moments],
        action_types=actions,  # type: ignore[arg-type]
        created_at_micros=[round(each.timestamp() * 1_000_000) for each in moments],
        new_lists=[place for place, each in enumerate(actions) if each == 5 and place % 2],
    )
    return IncomingEvent(new_id(), f"activity.recorded.{tenant_id}", message)


def spread(start: datetime, span: timedelta, number: int, seed: int = 1) -> list[datetime]:
    """Return moments anywhere in a span."""
    dice = random.Random(seed)
    return [start + span * dice.random() for _ in range(number)]


async def counted(pool: Pool, tenant_id: uuid.UUID, group: Sequence[Recorded]) -> None:
    """Count batches in one transaction."""
    async with tenant_transaction(pool, tenant_id) as connection:
        await count(connection, tenant_id, group)


async def no_dead_letters(tenant_id: uuid.UUID) -> Mapping[uuid.UUID, Set[date]]:
    """Say that all events could be counted."""
    del tenant_id
    return {}


async def rollup(database: Database, tenant_id: uuid.UUID) -> list[Any]:
    """Return a tenant's rows of the roll-up without its id, so that tenants can be compared."""
    rows = [row for each in (SLOTS, DAYS, TOTALS) for row in await database.fetch(each, tenant_id)]
    return [{k: v for k, v in row.items() if k != "tenant_id"} for row in rows]


async def all_applied(_: int = 0) -> None:
    """Wait for nothing: what these tests record is counted before they go on."""
