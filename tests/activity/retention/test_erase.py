"""Erasing a user: nothing personal stays, totals hold, and the others are told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

from chassis.clock import new_id, to_datetime, to_timestamp, utc_now
from chassis.database import Pool
from devstack.stack import ALL_SCOPES, ROOT
from services.activity.months.partitions import Partitions
from services.activity.retention import erasure as retention_erasure
from services.activity.retention.keeper import Keeper
from tests.activity.recording.test_record_batch import an_activity
from tests.activity.sealed_log import SealedLog, entries
from tests.harness import Database, Identity, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

NOBODY = str(uuid.UUID(int=0))
MIGRATIONS = ROOT / "services" / "activity" / "migrations"


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
    monkeypatch.setattr(retention_erasure, "ERASE_ROWS", 10)
    user_id = str(uuid.uuid4())
    await record(activity, ours, *(an_activity(user_id=user_id) for _ in range(35)))
    receipt = await erase(activity, ours, user_id)
    assert receipt.erased_count == 35
    assert user_id not in str(receipt)


async def test_what_expires_while_a_user_is_erased_does_not_end_the_erasure_early(
    activity: ActivityServiceAsyncStub,
    ours: Identity,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention_erasure, "ERASE_ROWS", 10)
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
    async with asyncio.timeout(30):
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
    monkeypatch.setattr(retention_erasure, "ERASE_ROWS", 500)
    user_id = str(uuid.uuid4())
    await record(activity, ours, *(an_activity(user_id=user_id) for _ in range(2_000)))
    await asyncio.gather(*(erase(activity, ours, user_id) for _ in range(3)))
    (counted,) = await database.fetch("select sum(erased_count) as n from activity.erasures")
    assert counted["n"] == 2_000


async def test_a_completed_erasure_leads_from_no_entry_to_the_user(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    user_id = str(uuid.uuid4())
    await record(activity, ours, personal(user_id))
    await erase(activity, ours, user_id)
    rows = await database.fetch(
        "select e.user_id from activity.activity_log l"
        " join activity.erasures e on e.receipt_id = l.erased_by"
    )
    assert [str(row["user_id"]) for row in rows] == [NOBODY]


@asynccontextmanager
async def locked(database: Database, *names: str) -> AsyncIterator[None]:
    """Hold an advisory lock of the service."""
    connection = await asyncpg.connect(database.dsn())
    keys = ", ".join(f"hashtext('{name}')" for name in names)
    await connection.fetchval(f"select pg_advisory_lock({keys})")
    try:
        yield
    finally:
        await connection.close()


async def broken_off(database: Database, tenant_id: uuid.UUID, user_id: str) -> uuid.UUID:
    """Leave what a crash in the middle of an erasure leaves; return the receipt's id."""
    receipt_id = uuid.uuid4()
    await database.fetch(
        "insert into activity.erasures values ($1, $2, $3, 7, now())",
        tenant_id, receipt_id, uuid.UUID(user_id),
    )  # fmt: skip
    return receipt_id


async def test_an_erasure_is_completed_though_its_caller_went_away(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database, nats: Client
) -> None:
    user_id = str(uuid.uuid4())
    await record(activity, ours, personal(user_id))
    told = await nats.subscribe(f"tenant.erased.{ours.tenant_id}")
    async with locked(database, "activity.erasing", f"{ours.tenant_id}{user_id}"):
        request = pb.EraseUserRequest(user_id=user_id)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await activity.EraseUser(request, metadata=ours.metadata(), timeout=2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    event = events_pb2.UserErased.FromString((await told.next_msg(timeout=30)).data)
    assert event.user_id == user_id
    (entry,) = await database.fetch("select user_id::text from activity.activity_log")
    assert entry["user_id"] == NOBODY


async def test_an_erasure_that_a_crash_broke_off_is_completed_and_told_once(
    log: SealedLog, database: Database, pool: Pool, nats: Client
) -> None:
    columns = entries(2)
    await log.record(columns)
    receipt_id = await broken_off(database, log.tenant_id, columns.user_ids[0])
    keeper = Keeper(pool, nats, Partitions(pool, utc_now), utc_now, asyncio.Event())
    for _ in range(2):
        await keeper.keep(asyncio.Event())
    (receipt,) = await database.fetch("select * from activity.erasures")
    assert (receipt["receipt_id"], receipt["erased_count"]) == (receipt_id, 9)
    assert str(receipt["user_id"]) == NOBODY
    told = "select from activity.outbox where subject like 'tenant.erased.%'"
    assert len(await database.fetch(told)) == 1


async def test_an_erasure_that_was_broken_off_goes_on_under_its_receipt_when_asked_for_again(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    user_id = str(uuid.uuid4())
    await record(activity, ours, an_activity(user_id=user_id))
    async with locked(database, "activity.keeping"):
        receipt_id = await broken_off(database, ours.tenant_id, user_id)
        receipt = await erase(activity, ours, user_id)
    assert (receipt.receipt_id, receipt.erased_count) == (str(receipt_id), 8)


async def test_receipts_from_before_forget_their_users_unless_entries_are_left(
    log: SealedLog, database: Database
) -> None:
    left, came_since = entries(1), entries(1)
    await log.record(left)
    unfinished = await broken_off(database, log.tenant_id, left.user_ids[0])
    for user_id in (str(uuid.uuid4()), came_since.user_ids[0]):
        await broken_off(database, log.tenant_id, user_id)
    await log.record(came_since)
    await database.fetch("drop policy erasures_of_keeper on activity.erasures")
    owner = await asyncpg.connect(database.dsn("activity_owner"))
    await owner.execute((MIGRATIONS / "0008_erasures_completed.sql").read_text())
    await owner.close()
    known = "select receipt_id from activity.erasures where user_id::text <> $1"
    rows = await database.fetch(known, NOBODY)
    assert [row["receipt_id"] for row in rows] == [unfinished]


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
    message = await subscription.next_msg(timeout=30)
    event = events_pb2.UserErased.FromString(message.data)
    assert (event.user_id, event.receipt_id) == (user_id, receipt.receipt_id)


async def test_the_time_that_the_others_keep_with_the_user_is_not_the_receipts(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database, nats: Client
) -> None:
    told = await nats.subscribe(f"tenant.erased.{ours.tenant_id}")
    await erase(activity, ours, str(uuid.uuid4()))
    event = events_pb2.UserErased.FromString((await told.next_msg(timeout=30)).data)
    (receipt,) = await database.fetch("select erased_at from activity.erasures")
    day = receipt["erased_at"].date()
    assert to_datetime(event.erased_at) == datetime(day.year, day.month, day.day, tzinfo=UTC)


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
