"""Every filter, in every order, paged in any way, gives what trying each entry by hand gives."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import to_datetime
from services.activity.reading import store
from tests.activity import log
from tests.harness import Identity

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

ENTRIES = log.entries()
MOMENTS = [each.created_at for each in ENTRIES]
METADATA = ["", *(json.dumps(each) for each in log.METADATA), '{"query": "ceo"}']


@st.composite
def times_in_order(draw: st.DrawFn) -> tuple[Timestamp | None, Timestamp | None]:
    """Return the ends of a range, each of which may be open."""
    moments = st.lists(st.sampled_from(MOMENTS), min_size=2, max_size=2)
    start, end = sorted(draw(moments), key=to_datetime)
    return (
        start if draw(st.booleans()) else None,
        end if draw(st.booleans()) and start != end else None,
    )


@st.composite
def filters(draw: st.DrawFn) -> pb.ActivityFilter:
    """Return a filter of any of its fields, that may match much, little or nothing."""
    start, end = draw(times_in_order())
    return pb.ActivityFilter(
        user_ids=draw(st.lists(st.sampled_from(log.USERS), max_size=3)),
        action_types=draw(st.lists(st.sampled_from(log.ACTIONS), max_size=3)),
        target_ids=draw(st.lists(st.sampled_from(log.TARGETS[1:]), max_size=2)),
        metadata_json=draw(st.sampled_from(METADATA)),
        start_time=start,
        end_time=end,
    )


for_any = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def filled(activity: ActivityServiceAsyncStub, ours: Identity) -> ActivityServiceAsyncStub:
    """The service, with the entries in our log and as many others in another tenant's."""
    await log.record(activity, ours, ENTRIES)
    other = Identity(ours.key, uuid.uuid4(), ours.user_id)
    await log.record(activity, other, ENTRIES)
    return activity


@pytest.fixture(params=[0, 10_000], ids=["common", "rare"])
def metadata_are(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all metadata count as common, or as rare, so that both ways to them are tried."""
    monkeypatch.setattr(store, "MAX_SORTED", request.param)


@pytest.mark.usefixtures("metadata_are")
@for_any
@given(wanted=filters(), newest_first=st.booleans(), page_size=st.sampled_from([1, 7, 100]))
async def test_a_list_gives_what_a_look_at_every_entry_gives(
    filled: ActivityServiceAsyncStub,
    ours: Identity,
    wanted: pb.ActivityFilter,
    newest_first: bool,
    page_size: int,
) -> None:
    order = "created_at desc" if newest_first else "created_at asc"
    request = pb.ListActivitiesRequest(filter=wanted, order_by=order, page_size=page_size)
    found = []
    while True:
        page = await filled.ListActivities(request, metadata=ours.metadata())
        found += [each.activity_id for each in page.activities]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    expected = [each.activity_id for each in log.matching(ENTRIES, wanted)]
    assert found == (expected[::-1] if newest_first else expected)


DIMENSIONS = st.sampled_from(
    [pb.COUNT_DIMENSION_ACTION_TYPE, pb.COUNT_DIMENSION_USER, pb.COUNT_DIMENSION_DAY]
)


@for_any
@given(
    wanted=filters(),
    group_by=st.lists(DIMENSIONS, unique=True),
    page_size=st.sampled_from([1, 4, 1000]),
)
async def test_counts_are_those_of_a_count_by_hand(
    filled: ActivityServiceAsyncStub,
    ours: Identity,
    wanted: pb.ActivityFilter,
    group_by: list[pb.CountDimension.ValueType],
    page_size: int,
) -> None:
    request = pb.CountActivitiesRequest(filter=wanted, group_by=group_by, page_size=page_size)
    found = []
    while True:
        page = await filled.CountActivities(request, metadata=ours.metadata())
        found += [(_group(each), each.activity_count) for each in page.counts]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    expected = Counter(
        (
            log.day_of(each) if pb.COUNT_DIMENSION_DAY in group_by else None,
            each.user_id if pb.COUNT_DIMENSION_USER in group_by else "",
            each.action_type if pb.COUNT_DIMENSION_ACTION_TYPE in group_by else 0,
        )
        for each in log.matching(ENTRIES, wanted)
    )
    if not group_by:
        expected.setdefault((None, "", 0), 0)  # no group means one count of all, of none as well
    assert dict(found) == expected
    assert len(found) == len(expected)
    assert [group[:2] for group, _ in found] == sorted(group[:2] for group in dict(found))


def _group(count: pb.ActivityCount) -> tuple[datetime | None, str, int]:
    period = to_datetime(count.period_start) if count.HasField("period_start") else None
    return period, count.user_id, count.action_type


@for_any
@given(wanted=filters())
async def test_an_export_has_what_a_look_at_every_entry_gives_oldest_first(
    filled: ActivityServiceAsyncStub, ours: Identity, wanted: pb.ActivityFilter
) -> None:
    # What the exports themselves leave in the log is not in question here.
    wanted.action_types.extend([] if wanted.action_types else log.ACTIONS)
    call = filled.ExportActivities(
        pb.ExportActivitiesRequest(filter=wanted), metadata=ours.metadata()
    )
    text = b"".join([each.chunk async for each in call]).decode()
    found = [json.loads(line)["activity_id"] for line in text.splitlines()]
    assert found == [each.activity_id for each in log.matching(ENTRIES, wanted)]
