"""Entries of an action type that only a newer release knows are read whole, in every way.

During a rolling upgrade a newer replica records them; its migration told the database of them.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

from chassis import messaging
from chassis.clock import new_id, utc_now
from chassis.database import tenant_transaction
from chassis.messaging import OutgoingEvent
from services.activity.entries.actions import ACTION_NUMBERS, ActionNumbers
from services.activity.sql import SQL
from tests.activity import log as entries
from tests.activity.sealed_log import SealedLog
from tests.harness import Database, Identity

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

NEWER, UNTOLD = "meeting_booked", "never_released"
NUMBER = 4_711
WIDER = """
do $$ begin
  execute (select format(
    'alter table activity.activity_log drop constraint activity_log_action_type,
      add constraint activity_log_action_type check (action_type in (%s))',
    string_agg(quote_literal(name), ', '))
    from (select name from activity.action_types
      union values ('meeting_booked'), ('never_released')) names);
end $$
"""


@dataclass(frozen=True)
class NewerEntry:
    """An entry as a newer replica recorded it."""

    activity_id: str
    user_id: str
    micros: int


async def record(log: SealedLog, action: str) -> NewerEntry:
    """Record an entry as a newer replica does, but for its event."""
    now = utc_now()
    entry = NewerEntry(str(new_id(now)), str(uuid.uuid4()), round(now.timestamp() * 1_000_000))
    values = (entry.activity_id, entry.user_id, action, "list-7", '{"room": 5}', entry.micros)
    async with tenant_transaction(log.pool, log.tenant_id) as connection:
        columns = [[each] for each in (*values, "", "")]
        await connection.fetchval(SQL.append_or_skip, log.tenant_id, new_id(), *columns)
    return entry


@pytest.fixture
async def upgraded(database: Database) -> None:
    """A database that a newer release has migrated: it takes two more, and tells of one of them."""
    await database.fetch(WIDER)
    await database.fetch("insert into activity.action_types values ($1, $2)", NEWER, NUMBER)


@pytest.fixture
async def newer(
    upgraded: None, activity: ActivityServiceAsyncStub, our_log: SealedLog, ours: Identity
) -> NewerEntry:
    """An entry of a newer release between two that every version knows."""
    await entries.record(activity, ours, entries.entries(1))
    entry = await record(our_log, NEWER)
    await entries.record(activity, ours, entries.entries(1))
    return entry


def numbers(activities: Sequence[pb.Activity]) -> dict[str, int]:
    """Return each entry's number by its id."""
    return {each.activity_id: int(each.action_type) for each in activities}


def test_the_database_knows_the_numbers_of_the_contract(
    stored_numbers: dict[str, int],
) -> None:
    assert stored_numbers == ACTION_NUMBERS


@pytest.fixture
async def stored_numbers(database: Database) -> dict[str, int]:
    """The database's table of action types."""
    rows = await database.fetch("select name, number from activity.action_types")
    return {row["name"]: row["number"] for row in rows}


async def test_a_known_name_asks_the_database_for_nothing() -> None:
    numbers = ActionNumbers()
    unreachable: SealedLog | None = None
    await numbers.learn(unreachable, ACTION_NUMBERS)  # type: ignore[arg-type]
    assert [numbers.of(each) for each in ACTION_NUMBERS] == list(ACTION_NUMBERS.values())


async def test_an_entry_of_a_newer_action_is_got_by_its_id(
    activity: ActivityServiceAsyncStub, ours: Identity, newer: NewerEntry
) -> None:
    request = pb.GetActivityRequest(activity_id=newer.activity_id)
    answer = await activity.GetActivity(request, metadata=ours.metadata())
    assert (answer.activity.action_type, answer.activity.metadata_json) == (NUMBER, '{"room": 5}')


@pytest.mark.parametrize("order", ["created_at desc", "created_at asc"])
@pytest.mark.parametrize(
    "wanted",
    [{}, {"user_ids": True}, {"metadata_json": '{"room": 5}'}, {"target_ids": ["list-7"]}],
    ids=["everything", "user", "metadata", "target"],
)
async def test_an_entry_of_a_newer_action_is_listed(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    newer: NewerEntry,
    order: str,
    wanted: dict[str, object],
) -> None:
    if "user_ids" in wanted:
        wanted = {"user_ids": [newer.user_id]}
    request = pb.ListActivitiesRequest(
        filter=pb.ActivityFilter(**wanted),  # type: ignore[arg-type]
        order_by=order,
    )
    page = await activity.ListActivities(request, metadata=ours.metadata())
    assert len(page.activities) == (1 if wanted else 3)
    assert numbers(page.activities)[newer.activity_id] == NUMBER


async def test_entries_of_a_newer_action_are_listed_among_many_however_often(
    activity: ActivityServiceAsyncStub, ours: Identity, newer: NewerEntry
) -> None:
    await entries.record(activity, ours, entries.entries(997))
    request = pb.ListActivitiesRequest(page_size=1_000)
    for _ in range(2):
        page = await activity.ListActivities(request, metadata=ours.metadata())
        assert len(page.activities) == 1_000
        assert numbers(page.activities)[newer.activity_id] == NUMBER


@pytest.mark.usefixtures("upgraded")
async def test_one_that_the_database_does_not_tell_of_is_shown_as_unspecified(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    untold = await record(our_log, UNTOLD)
    page = await activity.ListActivities(pb.ListActivitiesRequest(), metadata=ours.metadata())
    assert numbers(page.activities) == {untold.activity_id: pb.ACTION_TYPE_UNSPECIFIED}


@pytest.mark.usefixtures("upgraded")
@pytest.mark.parametrize("filtered", [False, True])
async def test_an_entry_of_a_newer_action_is_tailed(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    our_log: SealedLog,
    nats: Client,
    filtered: bool,
) -> None:
    wanted = pb.ActivityFilter(action_types=[pb.ACTION_TYPE_LOGIN] if filtered else [])
    tail = activity.TailActivities(
        pb.TailActivitiesRequest(filter=wanted), metadata=ours.metadata()
    )
    await asyncio.wait_for(tail.read(), 30)
    entry = await record(our_log, NEWER)
    event = events_pb2.ActivitiesRecorded(
        tenant_id=str(ours.tenant_id),
        activity_ids=[entry.activity_id],
        user_ids=[entry.user_id],
        action_types=[NUMBER],  # type: ignore[list-item]
        created_at_micros=[entry.micros],
    )
    subject = f"activity.recorded.{ours.tenant_id}"
    await messaging.publish(nats, OutgoingEvent.of(subject, event, "test"))
    (known,) = await entries.record(
        activity, ours, [pb.NewActivity(user_id=entry.user_id, action_type=pb.ACTION_TYPE_LOGIN)]
    )
    found: dict[str, int] = {}
    while known not in found:
        response = await asyncio.wait_for(tail.read(), 30)
        assert isinstance(response, pb.TailActivitiesResponse)
        found |= numbers(response.activities)
    tail.cancel()
    expected = {known: int(pb.ACTION_TYPE_LOGIN)}
    if not filtered:
        expected[entry.activity_id] = NUMBER
    assert found == expected


async def test_an_entry_of_a_newer_action_is_counted(
    activity: ActivityServiceAsyncStub, ours: Identity, newer: NewerEntry
) -> None:
    request = pb.CountActivitiesRequest(group_by=[pb.COUNT_DIMENSION_ACTION_TYPE])
    answer = await activity.CountActivities(request, metadata=ours.metadata())
    counts = {int(each.action_type): each.activity_count for each in answer.counts}
    assert counts == {pb.ACTION_TYPE_LOGIN: 2, NUMBER: 1}


@pytest.mark.parametrize(
    "form", [pb.EXPORT_FORMAT_NDJSON, pb.EXPORT_FORMAT_CSV, pb.EXPORT_FORMAT_SEALED_NDJSON]
)
async def test_an_entry_of_a_newer_action_is_exported_under_its_name(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    our_log: SealedLog,
    newer: NewerEntry,
    form: pb.ExportFormat.ValueType,
) -> None:
    await our_log.seal_all()
    request = pb.ExportActivitiesRequest(format=form)
    call = activity.ExportActivities(request, metadata=ours.metadata())
    text = b"".join([each.chunk async for each in call]).decode()
    (line,) = [each for each in text.splitlines() if newer.activity_id in each]
    assert NEWER in line


async def test_the_audit_counts_a_newer_action_under_its_number(
    activity: ActivityServiceAsyncStub, ours: Identity, newer: NewerEntry
) -> None:
    day, who = f"{utc_now():%Y-%m-%d}", ours.metadata("activity:audit")
    tenant_id = str(ours.tenant_id)
    counted = await activity.CountDay(
        pb.CountDayRequest(tenant_id=tenant_id, date=day), metadata=who
    )
    streamed = activity.StreamDayCounts(
        pb.StreamDayCountsRequest(tenant_id=tenant_id, date=day), metadata=who
    )
    for counts in (counted.counts, [count async for each in streamed for count in each.counts]):
        (count,) = [each for each in counts if each.user_id == newer.user_id]
        assert (count.action_type, count.activity_count) == (NUMBER, 1)
    digests = await activity.ListDayDigests(pb.ListDayDigestsRequest(date=day), metadata=who)
    (digest,) = [each for each in digests.digests if each.tenant_id == tenant_id]
    assert digest.activity_count == len(counted.counts)


async def test_an_entry_of_a_newer_action_is_sealed_and_verified(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog, newer: NewerEntry
) -> None:
    await our_log.seal_all()
    call = activity.VerifyLog(pb.VerifyLogRequest(), metadata=ours.metadata())
    *_, last = [said async for said in call]
    assert (last.summary.intact, last.summary.checked_count) == (True, 3)


async def test_an_entry_of_a_newer_action_is_erased_with_its_user(
    activity: ActivityServiceAsyncStub, ours: Identity, newer: NewerEntry
) -> None:
    request = pb.EraseUserRequest(user_id=newer.user_id)
    answer = await activity.EraseUser(request, metadata=ours.metadata())
    assert answer.receipt.erased_count == 1
    page = await activity.ListActivities(pb.ListActivitiesRequest(), metadata=ours.metadata())
    (erased,) = [each for each in page.activities if each.activity_id == newer.activity_id]
    assert (erased.action_type, json.loads(erased.metadata_json)) == (NUMBER, {})
