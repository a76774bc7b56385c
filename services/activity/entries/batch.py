"""A batch of new entries: those that can be stored, as columns, and those that are refused.

From the request to SQL and to the event the entries are columns, one list for each field: at a
hundred thousand entries a second, an object for each entry would be most of the cost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id
from chassis.errors import FieldViolation, InvalidArgument
from services.activity.entries.actions import ACTION_NAMES

FUTURE_TOLERANCE = timedelta(hours=24)
_MICROSECOND = timedelta(microseconds=1)
ID_TAKEN = FieldViolation(
    "activity_id", "activity.id_taken", "was recorded before with other content"
)
NO_ADDRESS = FieldViolation("ip_address", "string.ip", "must be an IP address")
_ENTRY = re.compile(r"^activities\[(\d+)\]\.?(.*)$")


@dataclass(slots=True)
class Columns:
    """Valid entries by field; `created_at` in microseconds since 1970, `metadata` as JSON text."""

    activity_ids: list[str] = field(default_factory=list)
    user_ids: list[str] = field(default_factory=list)
    action_types: list[str] = field(default_factory=list)
    target_ids: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    created_at: list[int] = field(default_factory=list)
    ip_addresses: list[str] = field(default_factory=list)
    user_agents: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.activity_ids)

    def values(self) -> tuple[list[str] | list[int], ...]:
        """Return the columns in the order in which the statements that append take them."""
        return (
            self.activity_ids,
            self.user_ids,
            self.action_types,
            self.target_ids,
            self.metadata,
            self.created_at,
            self.ip_addresses,
            self.user_agents,
        )

    def extend(self, other: Columns) -> None:
        """Append the entries of other columns."""
        for ours, theirs in zip(self.values(), other.values(), strict=True):
            ours.extend(theirs)  # type: ignore[arg-type]

    def take(self, places: Iterable[int]) -> Columns:
        """Return the entries at these places."""
        chosen = list(places)
        return Columns(*([column[place] for place in chosen] for column in self.values()))  # type: ignore[arg-type]

    def new_lists(self) -> list[int]:
        """Return the places of the add_to_list entries whose list was made for them."""
        return [
            place
            for place, action in enumerate(self.action_types)
            if action == "add_to_list" and _says_new_list(self.metadata[place])
        ]


@dataclass(frozen=True, slots=True)
class Window:
    """When an entry recorded now may have happened: within retention, at most 24 hours ahead."""

    now: int
    earliest: int
    latest: int

    @classmethod
    def at(cls, now: datetime, retention: timedelta) -> Window:
        """Return the window at the time `now`."""
        present = _micros(now)
        earliest = present - retention // _MICROSECOND
        return cls(present, earliest, present + FUTURE_TOLERANCE // _MICROSECOND)

    def fault_of(self, moment: int, name: str = "created_at") -> FieldViolation | None:
        """Return the violation of a time outside the window; None for one inside it."""
        if moment > self.latest:
            text = "must not be more than 24 hours ahead"
            return FieldViolation(name, "activity.not_ahead", text)
        if moment < self.earliest:
            earliest = datetime.fromtimestamp(self.earliest / 1_000_000)  # noqa: DTZ006 -- its day
            text = f"must not be older than the log is kept ({earliest:%Y-%m-%d})"
            return FieldViolation(name, "activity.within_retention", text)
        return None


@dataclass(frozen=True, slots=True)
class Batch:
    """The entries of one call: valid ones as columns, refused ones by their place in the call.

    `places` has the place in the call of each entry of `columns`.
    """

    size: int
    columns: Columns
    places: Sequence[int]
    refused: Mapping[int, Sequence[FieldViolation]]

    @classmethod
    def of(
        cls,
        activities: Sequence[pb.NewActivity],
        violations: Sequence[FieldViolation],
        window: Window,
    ) -> Batch:
        """Sort the entries of a call; raise InvalidArgument where the call itself breaks a rule."""
        size = len(activities)
        refused = _by_place(violations)
        created_at: list[int] = []
        places: list[int] = []
        for place, activity in enumerate(activities):
            if place not in refused:
                moment = _created_at(activity, window)
                if isinstance(moment, FieldViolation):
                    refused[place] = [moment]
                else:
                    created_at.append(moment)
                    places.append(place)
        valid = activities if len(places) == size else [activities[each] for each in places]
        batch = cls(size, _columns(valid, created_at), places, refused)
        addresses = batch.columns.ip_addresses
        # PostgreSQL takes no address with a zone (fe80::1%eth0), and its log would quote it. Looked
        # for once a batch, which costs next to nothing.
        if "%" in "".join(addresses):
            return batch.without(
                (at, NO_ADDRESS) for at, each in enumerate(addresses) if "%" in each
            )
        return batch

    def without(self, faults: Iterable[tuple[int, FieldViolation]]) -> Batch:
        """Return the batch with more entries refused, each named by its place in the columns."""
        out = dict(faults)
        refused = {self.places[column]: [fault] for column, fault in out.items()}
        kept = [column for column in range(len(self.columns)) if column not in out]
        places = [self.places[column] for column in kept]
        return Batch(self.size, self.columns.take(kept), places, {**self.refused, **refused})

    def refusal(self) -> InvalidArgument:
        """Return the error that names every refused entry."""
        return InvalidArgument.of(
            [
                FieldViolation(_path(place, each.field), each.rule, each.message)
                for place, violations in sorted(self.refused.items())
                for each in violations
            ]
        )

    def activity_ids(self) -> list[str]:
        """Return the ids in the order sent, empty for a refused entry."""
        if not self.refused:
            return self.columns.activity_ids
        ids = dict(zip(self.places, self.columns.activity_ids, strict=True))
        return [ids.get(place, "") for place in range(self.size)]

    def refused_entries(self) -> list[pb.RefusedEntry]:
        """Return each refused entry with the first rule that it breaks."""
        return [
            pb.RefusedEntry(index=place, field=each.field, rule=each.rule, message=each.message)
            for place, violations in sorted(self.refused.items())
            for each in violations[:1]
        ]


def _path(place: int, name: str) -> str:
    return f"activities[{place}].{name}" if name else f"activities[{place}]"


def _by_place(violations: Sequence[FieldViolation]) -> dict[int, list[FieldViolation]]:
    """Return violations by entry; raise InvalidArgument for those of the call as a whole."""
    refused: dict[int, list[FieldViolation]] = {}
    of_call = []
    for each in violations:
        found = _ENTRY.match(each.field)
        if found:
            of_entry = FieldViolation(found[2], each.rule, each.message)
            refused.setdefault(int(found[1]), []).append(of_entry)
        else:
            of_call.append(each)
    if of_call:
        raise InvalidArgument.of(of_call)
    return refused


def _columns(valid: Sequence[pb.NewActivity], created_at: list[int]) -> Columns:
    return Columns(
        activity_ids=[
            each.activity_id.lower() or _new_id(moment)
            for each, moment in zip(valid, created_at, strict=True)
        ],
        user_ids=[each.user_id.lower() for each in valid],
        action_types=[ACTION_NAMES[each.action_type] for each in valid],
        target_ids=[each.target_id for each in valid],
        metadata=[each.metadata_json or "{}" for each in valid],
        created_at=created_at,
        ip_addresses=[each.ip_address for each in valid],
        user_agents=[each.user_agent for each in valid],
    )


def _created_at(new: pb.NewActivity, window: Window) -> int | FieldViolation:
    """Return when the entry happened, or the rule that its time breaks."""
    if new.HasField("created_at"):
        sent = new.created_at
        if not 0 <= sent.nanos < 1_000_000_000:
            return FieldViolation("created_at", "timestamp", "must be a valid time")
        moment = (
            sent.seconds * 1_000_000 + sent.nanos // 1_000
        )  # as clock.to_micros, without a call
    elif new.activity_id:
        implied = time_of_id(new.activity_id)
        if implied is None:
            text = "must be sent with an activity_id that is not of version 7"
            return FieldViolation("created_at", "activity.created_at_with_id", text)
        moment = implied
    else:
        return window.now
    if window.earliest <= moment <= window.latest:
        return moment
    return window.fault_of(moment) or moment


def time_of_id(activity_id: str) -> int | None:
    """Return the time in a version 7 UUID, in microseconds; None for another version."""
    if activity_id[14] != "7":
        return None
    return int(activity_id[:8] + activity_id[9:13], 16) * 1_000


def _new_id(micros: int) -> str:
    return str(new_id(datetime.fromtimestamp(micros / 1_000_000)))  # noqa: DTZ006 -- its instant


def parse_json(text: str) -> Any:
    """Parse JSON; numbers stay text, since PostgreSQL takes longer ones than Python converts."""
    return json.loads(text, parse_int=str, parse_float=str)


def _says_new_list(metadata: str) -> bool:
    try:
        parsed = parse_json(metadata)
    except (ValueError, RecursionError):  # PostgreSQL says what of it is JSON, and refuses the rest
        return False
    return isinstance(parsed, dict) and parsed.get("new_list") is True


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def one_entry(
    activity_id: UUID, user_id: UUID, action_type: str, target_id: str, metadata: str, at: datetime
) -> Columns:
    """Return the columns of one entry that the service itself records."""
    return Columns(
        [str(activity_id)], [str(user_id)], [action_type], [target_id], [metadata],
        [_micros(at)], [""], [""],
    )  # fmt: skip
