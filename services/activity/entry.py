"""An entry of the log: parsed at the edge, checked by the rules that protobuf cannot say."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id, to_datetime
from chassis.errors import FieldViolation
from chassis.validation import violations_of

AHEAD = timedelta(hours=24)
ACTIONS: dict[int, str] = {
    number: name.removeprefix("ACTION_TYPE_").lower()
    for name, number in pb.ActionType.items()
    if number
}
ACTION_NUMBERS = {name: pb.ActionType.ValueType(number) for number, name in ACTIONS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One activity, ready to be stored; `metadata` is JSON text."""

    activity_id: UUID
    user_id: UUID
    action_type: str
    target_id: str
    metadata: str
    created_at: datetime
    ip_address: str
    user_agent: str
    new_list: bool

    @property
    def key(self) -> tuple[UUID, datetime]:
        """What makes the entry the same when it is sent again."""
        return self.activity_id, self.created_at

    @property
    def content(self) -> tuple[object, ...]:
        """What must be equal for a repeat to be a duplicate."""
        return self.user_id, self.action_type, self.target_id, json.loads(self.metadata)


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which an activity may have happened: within retention, at most 24 h ahead."""

    earliest: datetime
    latest: datetime

    @classmethod
    def at(cls, now: datetime, retention_days: int) -> Window:
        """Return the window open at `now`."""
        return cls(now - timedelta(days=retention_days), now + AHEAD)


def parse(new: pb.NewActivity, window: Window, now: datetime) -> Entry | list[FieldViolation]:
    """Return the entry, or every rule it breaks."""
    violations = violations_of(new)
    if violations:
        return violations
    metadata, fault = _metadata(new.metadata_json)
    created_at, late = _created_at(new, window, now)
    faults = [each for each in (fault, late, _nul(new)) if each]
    if faults:
        return faults
    action = ACTIONS[new.action_type]
    return Entry(
        activity_id=UUID(new.activity_id) if new.activity_id else new_id(created_at),
        user_id=UUID(new.user_id),
        action_type=action,
        target_id=new.target_id,
        metadata=new.metadata_json or "{}",
        created_at=created_at,
        ip_address=str(ipaddress.ip_address(new.ip_address)) if new.ip_address else "",
        user_agent=new.user_agent,
        new_list=action == "add_to_list" and metadata.get("new_list") is True,
    )


def _metadata(text: str) -> tuple[dict[str, object], FieldViolation | None]:
    if not text:
        return {}, None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return {}, FieldViolation("metadata_json", "json", "must be JSON text")
    if not isinstance(value, dict):
        return {}, FieldViolation("metadata_json", "json.object", "must be a JSON object")
    if "\\u0000" in text or "\0" in text:
        # jsonb holds no zero character, and one such entry would fail its whole batch.
        return {}, FieldViolation("metadata_json", "json.no_nul", "must not contain \\u0000")
    return value, None


def _nul(new: pb.NewActivity) -> FieldViolation | None:
    for field, text in (("target_id", new.target_id), ("user_agent", new.user_agent)):
        if "\0" in text:
            return FieldViolation(field, "string.no_nul", "must not contain a zero character")
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _created_at(
    new: pb.NewActivity, window: Window, now: datetime
) -> tuple[datetime, FieldViolation | None]:
    if not new.HasField("created_at"):
        return _implied_time(new, now)
    try:
        moment = to_datetime(new.created_at)
    except (ValueError, OverflowError):
        return now, FieldViolation("created_at", "timestamp", "must be a valid time")
    if moment < window.earliest:
        text = f"must not be older than the log is kept ({window.earliest:%Y-%m-%d})"
        return now, FieldViolation("created_at", "activity.within_retention", text)
    if moment > window.latest:
        text = "must not be more than 24 hours ahead"
        return now, FieldViolation("created_at", "activity.not_ahead", text)
    return moment, None


def _implied_time(new: pb.NewActivity, now: datetime) -> tuple[datetime, FieldViolation | None]:
    """Without created_at: now. With an id of the caller's, a time that a retry finds again."""
    if not new.activity_id:
        return now, None
    text = "must be sent with activity_id, so that a retry finds the entry again"
    return now, FieldViolation("created_at", "activity.created_at_with_id", text)
