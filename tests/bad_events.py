"""What nobody should publish on `activity.recorded`, and what anybody could on an open broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

LOGIN = pb.ACTION_TYPE_LOGIN
NOW_MICROS = 1_790_000_000_000_000


def recorded(tenant_id: uuid.UUID, /, **fields: Any) -> bytes:
    """Return the body of an event of one entry, with other values for some of its fields."""
    values: dict[str, Any] = {
        "tenant_id": str(tenant_id),
        "activity_ids": [str(uuid.uuid4())],
        "user_ids": [str(uuid.uuid4())],
        "action_types": [LOGIN],
        "created_at_micros": [NOW_MICROS],
    }
    return events_pb2.ActivitiesRecorded(**(values | fields)).SerializeToString()


BAD: dict[str, Callable[[uuid.UUID], bytes]] = {
    "garbage": lambda tenant_id: b"\xff" * 64,
    "nothing": lambda tenant_id: b"",
    "columns of other lengths": lambda tenant_id: recorded(tenant_id, user_ids=[]),
    "an id that is none": lambda tenant_id: recorded(tenant_id, activity_ids=["x"]),
    "a user that is none": lambda tenant_id: recorded(tenant_id, user_ids=["\0"]),
    "a time before all": lambda tenant_id: recorded(tenant_id, created_at_micros=[-(2**63)]),
    "a time after all": lambda tenant_id: recorded(tenant_id, created_at_micros=[2**63 - 1]),
    "no action": lambda tenant_id: recorded(tenant_id, action_types=[0]),
    "two million entries": lambda tenant_id: recorded(tenant_id, activity_ids=[""] * 2_000_000),
    "another tenant": lambda tenant_id: recorded(uuid.uuid4()),
    "no tenant": lambda tenant_id: recorded(tenant_id, tenant_id=""),
}
"""Bodies, by what is wrong with each, for the tenant of the subject."""
