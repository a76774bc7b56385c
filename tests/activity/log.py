"""A log to read from: entries that differ in all a filter can ask for, and what one matches."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id, to_datetime, to_timestamp, utc_now
from tests.harness import Identity

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

USERS = [str(uuid.UUID(int=number)) for number in (1, 2, 3)]
ACTIONS = [pb.ACTION_TYPE_LOGIN, pb.ACTION_TYPE_NOTE_ADDED, pb.ACTION_TYPE_ADD_TO_LIST]
TARGETS = ["", "prospect-1", 'list "7", =1+1']
METADATA: list[dict[str, Any]] = [
    {},
    {"query": "cfo"},
    {"query": "cfo", "page": 2},
    {"tags": ["a"]},
]


def entries(count: int = 60) -> list[pb.NewActivity]:
    """Return entries of three months; every third happened at the moment of the one before."""
    start = utc_now().replace(microsecond=7) - timedelta(days=70)
    moments = [
        start + timedelta(days=70 / count * (index - (index % 3 == 2))) for index in range(count)
    ]
    return [
        pb.NewActivity(
            activity_id=str(new_id(moment)),
            user_id=USERS[index % 3],
            action_type=ACTIONS[index // 2 % 3],
            target_id=TARGETS[index // 3 % 3],
            metadata_json=json.dumps(METADATA[index % 4]),
            created_at=to_timestamp(moment),
            ip_address="10.0.0.1" if index % 2 else "",
            user_agent="=cmd|' /C calc'!A0" if index % 5 == 0 else "Mozilla/5.0",
        )
        for index, moment in enumerate(moments)
    ]


async def record(
    activity: ActivityServiceAsyncStub, who: Identity, activities: Sequence[pb.NewActivity]
) -> list[str]:
    """Record entries; return their ids."""
    request = pb.RecordActivitiesRequest(activities=activities)
    response = await activity.RecordActivities(request, metadata=who.metadata())
    return list(response.activity_ids)


def matching(
    activities: Sequence[pb.NewActivity], wanted: pb.ActivityFilter
) -> list[pb.NewActivity]:
    """Return what a filter matches, oldest first, by trying every entry."""
    found = [each for each in activities if _matches(each, wanted)]
    return sorted(found, key=lambda each: (to_datetime(each.created_at), each.activity_id))


def _matches(each: pb.NewActivity, wanted: pb.ActivityFilter) -> bool:
    moment = to_datetime(each.created_at)
    asked = json.loads(wanted.metadata_json or "{}")
    return (
        (not wanted.user_ids or each.user_id in wanted.user_ids)
        and (not wanted.action_types or each.action_type in wanted.action_types)
        and (not wanted.target_ids or each.target_id in wanted.target_ids)
        and (not wanted.HasField("start_time") or moment >= to_datetime(wanted.start_time))
        and (not wanted.HasField("end_time") or moment < to_datetime(wanted.end_time))
        and _contains(json.loads(each.metadata_json), asked)
    )


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and _contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(_contains(w, p) for w in whole) for p in part)
    return bool(whole == part)


def day_of(each: pb.NewActivity) -> datetime:
    """Return the UTC day of an entry."""
    return (
        to_datetime(each.created_at)
        .astimezone(UTC)
        .replace(hour=0, minute=0, second=0, microsecond=0)
    )
