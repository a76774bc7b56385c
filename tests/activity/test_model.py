"""Any sequence of records, repeats, contradictions, lists and erases agrees with a plain model."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import new_id, to_timestamp, utc_now
from tests.harness import Identity

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

NOBODY = str(uuid.UUID(int=0))
BASE = utc_now().replace(microsecond=0) - timedelta(days=2)
KEYS = [(str(new_id(BASE)), BASE + timedelta(hours=9 * n)) for n in range(6)]
USERS = [str(uuid.UUID(int=n)) for n in (1, 2)]


@dataclass(frozen=True)
class Entry:
    """An entry as the model has it."""

    key: tuple[str, datetime]
    user_id: str
    action: int
    metadata: str
    erased: bool = False

    def new(self) -> pb.NewActivity:
        """Return it as it is sent."""
        return pb.NewActivity(
            activity_id=self.key[0],
            created_at=to_timestamp(self.key[1]),
            user_id=self.user_id,
            action_type=pb.ActionType.ValueType(self.action),
            metadata_json=self.metadata,
        )

    @property
    def content(self) -> tuple[object, ...]:
        """What makes a repeat a duplicate."""
        return self.user_id, self.action, json.loads(self.metadata)


@dataclass
class Model:
    """The log as a dictionary."""

    entries: dict[tuple[str, datetime], Entry] = field(default_factory=dict)

    def record(self, batch: list[Entry], partial: bool) -> list[str]:
        """Record a batch and return what becomes of each entry."""
        after = dict(self.entries)
        outcomes = []
        for each in batch:
            stands = after.setdefault(each.key, each)
            if stands is each:
                outcomes.append("recorded")
            elif stands.erased or stands.content == each.content:
                outcomes.append("duplicate")
            else:
                outcomes.append("refused")
        if partial or "refused" not in outcomes:
            self.entries = after
        return outcomes

    def erase(self, user_id: str) -> int:
        """Erase a user and return how many entries that were."""
        theirs = [each for each in self.entries.values() if each.user_id == user_id]
        for each in theirs:
            gone = replace(each, user_id=NOBODY, metadata="{}", erased=True)
            self.entries[each.key] = gone
        return len(theirs)

    def newest_first(self) -> list[tuple[str, str, int]]:
        """Return (id, user, action) in the order of a list."""
        ordered = sorted(self.entries.values(), key=lambda e: (e.key[1], e.key[0]), reverse=True)
        return [(each.key[0], each.user_id, each.action) for each in ordered]


entry = st.builds(
    Entry,
    key=st.sampled_from(KEYS),
    user_id=st.sampled_from(USERS),
    action=st.sampled_from([1, 2]),
    metadata=st.sampled_from(["{}", '{"a":1,"b":2}', '{"b": 2, "a": 1}']),
)
record = st.tuples(st.just("record"), st.lists(entry, min_size=1, max_size=5), st.booleans())
erase = st.tuples(st.just("erase"), st.sampled_from(USERS), st.none())
steps = st.lists(st.one_of(record, record, erase), max_size=8)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
async def test_the_log_agrees_with_the_model_after_every_step(
    activity: ActivityServiceAsyncStub, ours: Identity, steps: list[tuple[str, object, object]]
) -> None:
    metadata = replace(ours, tenant_id=uuid.uuid4()).metadata()
    model = Model()
    for step in steps:
        match step:
            case ("record", list(batch), bool(partial)):
                expected = model.record(batch, partial)
                assert await recorded(activity, metadata, batch, partial) == (
                    Counter(expected) if partial or "refused" not in expected else None
                )
            case ("erase", str(user_id), _):
                request = pb.EraseUserRequest(user_id=user_id)
                answer = await activity.EraseUser(request, metadata=metadata)
                assert answer.receipt.erased_count == model.erase(user_id)
        page = await activity.ListActivities(pb.ListActivitiesRequest(), metadata=metadata)
        listed = [(each.activity_id, each.user_id, each.action_type) for each in page.activities]
        assert listed == model.newest_first()


async def recorded(
    activity: ActivityServiceAsyncStub,
    metadata: tuple[tuple[str, str], ...],
    batch: list[Entry],
    partial: bool,
) -> Counter[str] | None:
    """Record a batch and count the outcomes; None where all of it was refused."""
    request = pb.RecordActivitiesRequest(
        activities=[each.new() for each in batch], partial_success=partial
    )
    call = activity.RecordActivities(request, metadata=metadata)
    if await call.code() is not grpc.StatusCode.OK:
        return None
    answer = await call
    told = {
        "recorded": answer.recorded_count,
        "duplicate": answer.duplicate_count,
        "refused": len(answer.refused_entries),
    }
    return Counter({outcome: count for outcome, count in told.items() if count})
