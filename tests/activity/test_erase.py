"""Erasing a user: nothing personal stays, totals hold, and the others are told."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

from chassis.clock import new_id, to_timestamp, utc_now
from services.activity import erasing
from services.dev import ALL_SCOPES
from tests.activity.test_record import an_activity
from tests.harness import Database, Identity, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

NOBODY = str(uuid.UUID(int=0))


async def record(
    activity: ActivityServiceAsyncStub, who: Identity, *new: pb.NewActivity
) -> pb.RecordActivitiesResponse:
    """Record entries."""
    request = pb.RecordActivitiesRequest(activities=new)
    return await activity.RecordActivities(request, metadata=who.metadata())


async def erase(
    activity: ActivityServiceAsyncStub, who: Identity, user_id: str
) -> pb.ErasureReceipt:
    """Erase a user and return the receipt."""
    request = pb.EraseUserRequest(user_id=user_id)
    return (await activity.EraseUser(request, metadata=who.metadata())).receipt


def personal(user_id: str) -> pb.NewActivity:
    """Return an entry with something personal in every field."""
    return an_activity(
        user_id=user_id,
        action_type=pb.ACTION_TYPE_ADD_TO_LIST,
        target_id="secret-target",
        metadata_json='{"note": "secret", "new_list": true}',
        ip_address="203.0.113.7",
        user_agent="secret-agent",
    )


async def test_nothing_personal_of_an_erased_user_stays_in_the_table(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    user_id = str(uuid.uuid4())
    await record(activity, ours, personal(user_id), personal(user_id))
    await erase(activity, ours, user_id)
    rows = await database.fetch("select l::text as text, salt from activity.activity_log l")
    assert len(rows) == 2
    for row in rows:
        assert row["salt"] is None
        assert not any(word in row["text"] for word in (user_id, "secret", "203.0.113.7"))


async def test_the_entries_of_others_are_left_alone(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    erased, kept = str(uuid.uuid4()), str(uuid.uuid4())
    await record(activity, ours, personal(erased), personal(kept))
    await erase(activity, ours, erased)
    rows = await database.fetch("select user_id::text, target_id from activity.activity_log")
    found = {(row["user_id"], row["target_id"]) for row in rows}
    assert found == {(NOBODY, ""), (kept, "secret-target")}


async def test_the_receipt_counts_what_was_erased_piece_by_piece(
    activity: ActivityServiceAsyncStub, ours: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "PIECE", 10)
    user_id = str(uuid.uuid4())
    await record(activity, ours, *(an_activity(user_id=user_id) for _ in range(35)))
    receipt = await erase(activity, ours, user_id)
    assert (receipt.user_id, receipt.erased_count) == (user_id, 35)


async def test_what_expires_while_a_user_is_erased_does_not_end_the_erasure_early(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(erasing, "PIECE", 10)
    user_id = str(uuid.uuid4())
    await record(activity, ours, *(an_activity(user_id=user_id) for _ in range(35)))
    expiring = await asyncpg.connect(database.dsn())
    deletion = expiring.transaction()
    await deletion.start()
    # Of the first piece one entry is gone when the piece is erased: it waits for the deletion.
    await expiring.execute(
        "delete from activity.activity_log where ctid = (select ctid from activity.activity_log"
        " order by created_at, activity_id limit 1)"
    )
    erasure = asyncio.create_task(erase(activity, ours, user_id))
    await until_waiting(database)
    await deletion.commit()
    await expiring.close()
    assert (await erasure).erased_count == 34
    assert not await database.fetch("select 1 from activity.activity_log where erased_by is null")


async def until_waiting(database: Database) -> None:
    """Return when a transaction waits for another."""
    async with asyncio.timeout(10):
        while not await database.fetch(
            "select 1 from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.02)


async def test_two_erasures_of_a_user_at_once_count_each_entry_once(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(erasing, "PIECE", 500)
    user_id = str(uuid.uuid4())
    await record(activity, ours, *(an_activity(user_id=user_id) for _ in range(2_000)))
    await asyncio.gather(*(erase(activity, ours, user_id) for _ in range(3)))
    (counted,) = await database.fetch("select sum(erased_count) as n from activity.erasures")
    assert counted["n"] == 2_000


async def test_erasing_again_erases_what_came_since(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    user_id = str(uuid.uuid4())
    await record(activity, ours, an_activity(user_id=user_id))
    await erase(activity, ours, user_id)
    await record(activity, ours, an_activity(user_id=user_id))
    assert (await erase(activity, ours, user_id)).erased_count == 1
    assert (await erase(activity, ours, user_id)).erased_count == 0


async def test_the_day_has_the_same_digest_and_counts_as_before(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    user_id = str(uuid.uuid4())
    await record(activity, ours, personal(user_id), an_activity(user_id=user_id))
    audit = ours.metadata("activity:audit")
    today = utc_now().date().isoformat()
    digests = pb.ListDayDigestsRequest(date=today)
    counts = pb.CountDayRequest(tenant_id=str(ours.tenant_id), date=today)
    before = await activity.ListDayDigests(digests, metadata=audit)
    counted = await activity.CountDay(counts, metadata=audit)
    await erase(activity, ours, user_id)
    after = await activity.ListDayDigests(digests, metadata=audit)
    anonymous = await activity.CountDay(counts, metadata=audit)
    assert after.digests[0].digest == before.digests[0].digest
    assert {each.user_id for each in anonymous.counts} == {NOBODY}
    assert [(c.action_type, c.new_list, c.activity_count) for c in anonymous.counts] == [
        (c.action_type, c.new_list, c.activity_count) for c in counted.counts
    ]


async def test_an_erased_entry_that_is_sent_again_stays_erased(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = personal(str(uuid.uuid4()))
    entry.activity_id = str(new_id())
    entry.created_at.CopyFrom(to_timestamp(utc_now()))  # type: ignore[arg-type]
    await record(activity, ours, entry)
    await erase(activity, ours, entry.user_id)
    again = await record(activity, ours, entry)
    assert (again.recorded_count, again.duplicate_count) == (0, 1)


async def test_the_other_services_are_told(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    user_id = str(uuid.uuid4())
    subscription = await nats.subscribe(f"tenant.erased.{ours.tenant_id}")
    receipt = await erase(activity, ours, user_id)
    message = await subscription.next_msg(timeout=5)
    event = events_pb2.UserErased.FromString(message.data)
    assert (event.user_id, event.receipt_id) == (user_id, receipt.receipt_id)


async def test_another_tenants_entries_of_the_same_user_are_left_alone(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    user_id = str(uuid.uuid4())
    await record(activity, theirs, an_activity(user_id=user_id))
    assert (await erase(activity, ours, user_id)).erased_count == 0
    assert (await erase(activity, theirs, user_id)).erased_count == 1


async def test_erasing_needs_the_scope_of_an_administrator(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    scopes = ALL_SCOPES.replace("activity:admin", "")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await activity.EraseUser(
            pb.EraseUserRequest(user_id=str(uuid.uuid4())), metadata=ours.metadata(scopes)
        )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("user_id", "rule"), [("x", "string.uuid"), (NOBODY, "activity.anonymous")]
)
async def test_a_user_that_cannot_be_erased_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity, user_id: str, rule: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await erase(activity, ours, user_id)
    assert violations(refused.value) == [("user_id", rule)]
