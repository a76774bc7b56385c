"""Verification: whatever is changed in the database is found, and named; what may change is not."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis.clock import utc_now
from chassis.database import tenant_snapshot
from services.activity.proof import merkle
from services.activity.proof.discrepancy import Discrepancy, Kind
from services.activity.proof.verification import Progress, Question, Verification
from tests.activity.sealed_log import RETENTION, SealedLog, entries

VICTIM = "activity_id = $1"
INSERT = (
    "insert into activity.activity_log (tenant_id, activity_id, user_id, action_type, created_at,"
    " recorded_at, batch_id) values ($1, $2, $2, 'login', now(), now(), $3)"
)
ERASE = (
    "with receipt as (insert into activity.erasures"
    " (tenant_id, receipt_id, user_id, erased_count, erased_at)"
    " select tenant_id, gen_random_uuid(), user_id, 1, now() from activity.activity_log"
    f" where {VICTIM} returning receipt_id) "
    "update activity.activity_log set user_id = '00000000-0000-0000-0000-000000000000',"
    " target_id = '', metadata = '{}', ip_address = null, user_agent = '', salt = null,"
    f" erased_by = receipt_id from receipt where {VICTIM}"
)


async def verify(
    log: SealedLog, **question: object
) -> tuple[set[tuple[Kind, uuid.UUID | None]], Verification]:
    """Verify; return (kind, id) of each discrepancy, and the run with its counts."""
    about = Question(log.tenant_id, (log.public_key,), utc_now() - RETENTION)
    async with tenant_snapshot(log.pool, log.tenant_id) as connection:
        done = Verification(connection, replace(about, **question))  # type: ignore[arg-type]
        said = [each async for each in done.run()]
    found = [each for each in said if isinstance(each, Discrepancy)]
    assert len(found) == done.discrepancy_count
    return {(each.kind, each.activity_id) for each in found}, done


async def test_an_untouched_log_is_intact(log: SealedLog) -> None:
    await log.sealed(3, 500, 20)
    await log.record(entries(4))
    found, done = await verify(log)
    assert found == set()
    assert (done.checked_count, done.counts["unsealed"]) == (523, 4)
    assert (done.computed.size, done.computed.root()) == (523, merkle.root_of(await log.leaves()))


async def test_an_empty_log_is_intact(log: SealedLog) -> None:
    found, done = await verify(log)
    assert (found, done.computed.size) == (set(), 0)


@pytest.mark.parametrize(
    "change",
    [
        "user_id = gen_random_uuid()",
        "action_type = 'csv_exported'",
        "target_id = 'other'",
        """metadata = '{"query": "cfo"}'""",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "ip_address = null",
        "user_agent = 'other'",
        "salt = gen_random_uuid()",
        "salt = null",
        "batch_id = gen_random_uuid()",
        "batch_id = null",
        "erased_by = gen_random_uuid()",
    ],
)
async def test_an_altered_entry_is_named(log: SealedLog, change: str) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(f"update activity.activity_log set {change} where {VICTIM}", ids[5])
    found, _ = await verify(log)
    # One that denies its batch is besides one that no batch holds.
    assert found - {(Kind.INSERTED, ids[5])} == {(Kind.ALTERED, ids[5])}


@pytest.mark.parametrize(
    "change", ["activity_id = gen_random_uuid()", "created_at = created_at - interval '1 second'"]
)
async def test_an_entry_with_another_key_is_one_removed_and_one_inserted(
    log: SealedLog, change: str
) -> None:
    ids = await log.sealed(3, 4)
    rows = await log.fetch(
        f"update activity.activity_log set {change} where {VICTIM} returning activity_id", ids[5]
    )
    found, _ = await verify(log)
    assert found == {(Kind.REMOVED, ids[5]), (Kind.INSERTED, rows[0]["activity_id"])}


async def test_a_removed_entry_is_named(log: SealedLog) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(f"delete from activity.activity_log where {VICTIM}", ids[5])
    found, done = await verify(log)
    assert found == {(Kind.REMOVED, ids[5])}
    assert done.counts["intact"] == 6


@pytest.mark.parametrize("batch", ["none", "unknown", "sealed", "unsealed"])
async def test_an_inserted_entry_is_named(log: SealedLog, batch: str) -> None:
    await log.sealed(3, 4)
    await log.record(entries(2))
    rows = await log.fetch(
        "select batch_id from activity.batches order by first_leaf is null, first_leaf"
    )
    batches = {"none": None, "unknown": uuid.uuid4(), "sealed": rows[1][0], "unsealed": rows[2][0]}
    forged = uuid.uuid4()
    await log.fetch(INSERT, log.tenant_id, forged, batches[batch])
    found, _ = await verify(log)
    assert found == {(Kind.INSERTED, forged)}


async def test_an_entry_inserted_with_a_batch_of_its_own_is_named(log: SealedLog) -> None:
    await log.sealed(3, 4)
    forged = uuid.uuid4()
    await log.fetch(INSERT, log.tenant_id, forged, forged)
    await log.fetch(
        "insert into activity.batches (tenant_id, batch_id, entry_count, earliest, latest,"
        " activity_ids, created_ats, leaves, first_leaf)"
        " select tenant_id, batch_id, 1, created_at, created_at, array[activity_id],"
        " array[created_at], sha256('leaf'), 7 from activity.activity_log where activity_id = $1",
        forged,
    )
    found, _ = await verify(log)
    assert found == {(Kind.INSERTED, forged), (Kind.TREE, None)}


async def test_an_altered_entry_with_its_leaf_made_to_fit_breaks_the_tree(log: SealedLog) -> None:
    ids = await log.sealed(1, 4)
    await log.fetch(
        "with changed as (update activity.activity_log l set target_id = 'other'"
        f" where {VICTIM} returning batch_id, activity.leaf_hash(salt, tenant_id, activity_id,"
        " user_id, created_at, recorded_at, action_type, target_id, metadata, ip_address,"
        " user_agent) as leaf) update activity.batches b set leaves = leaf from changed c"
        " where b.batch_id = c.batch_id",
        ids[0],
    )
    found, _ = await verify(log)
    assert found == {(Kind.TREE, None)}


async def test_a_changed_leaf_names_its_entry_and_breaks_the_tree(log: SealedLog) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(
        "update activity.batches set leaves = overlay(leaves placing sha256('x') from 33)"
        " where first_leaf = 3"
    )
    found, _ = await verify(log)
    assert found == {(Kind.ALTERED, ids[4]), (Kind.TREE, None)}


async def test_swapped_ids_are_named(log: SealedLog) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(
        "update activity.batches set"
        " activity_ids = array[activity_ids[2], activity_ids[1]] || activity_ids[3:],"
        " created_ats = array[created_ats[2], created_ats[1]] || created_ats[3:]"
        " where first_leaf = 3"
    )
    found, _ = await verify(log)
    assert found == {(Kind.ALTERED, ids[3]), (Kind.ALTERED, ids[4])}


async def test_a_removed_batch_is_found_even_with_its_entries(log: SealedLog) -> None:
    await log.sealed(3, 4, 2)
    await log.fetch(
        "with gone as (delete from activity.batches where first_leaf = 3 returning batch_id)"
        " delete from activity.activity_log l using gone g where l.batch_id = g.batch_id"
    )
    found, _ = await verify(log)
    assert found == {(Kind.TREE, None)}


@pytest.mark.parametrize(
    "tamper",
    [
        "update activity.trees set frontier = sha256('x') || substring(frontier from 33)",
        "update activity.trees set size = 258, frontier = sha256('x') || sha256('y')",
        "update activity.trees set note = replace(note, 'prospect', 'prospekt')",
        "update activity.tiles set hashes = sha256('x')",
        "delete from activity.tiles",
        "update activity.batches set first_leaf = case first_leaf when 0 then 300 else 0 end"
        " where first_leaf is not null",
        "update activity.batches set first_leaf = null where first_leaf = 0",
    ],
)
async def test_a_changed_tree_is_found(log: SealedLog, tamper: str) -> None:
    await log.sealed(300)
    await log.sealed(300)
    await log.fetch("drop index activity.batches_in_tree")  # in the way of swapping places
    await log.fetch(tamper)
    found, _ = await verify(log)
    assert (Kind.TREE, None) in found


async def faults_of(log: SealedLog) -> list[str]:
    """Verify; return what is said of each discrepancy that is of no entry."""
    about = Question(log.tenant_id, (log.public_key,), utc_now() - RETENTION)
    async with tenant_snapshot(log.pool, log.tenant_id) as connection:
        said = [each async for each in Verification(connection, about).run()]
    found = [each for each in said if isinstance(each, Discrepancy)]
    return [each.detail for each in found if each.activity_id is None]


NOT_SIGNED = "the sealed leaves do not have the signed root"
NOT_STORED = "the stored frontier is not that of the sealed leaves"
FAULTS = {
    "update activity.tiles set hashes = sha256('x')": [
        "tile 0 of level 1 is not that of the leaves"
    ],
    "update activity.batches set first_leaf = 600 where first_leaf = 300": [
        "300 leaves stand outside of the signed tree",
        "the leaves from 0 to 599 are not there exactly once each",
        NOT_SIGNED,
        NOT_STORED,
    ],
    "update activity.trees set frontier = sha256('x') || substring(frontier from 33)": [NOT_STORED],
    "update activity.trees set note = replace(note, 'prospect', 'prospekt')": [
        "the checkpoint is signed with another key"
    ],
}


@pytest.mark.parametrize("tamper", FAULTS)
async def test_each_fault_of_a_tree_is_told_once_and_says_what_is_wrong(
    log: SealedLog, tamper: str
) -> None:
    await log.sealed(300)
    await log.sealed(300)
    await log.fetch(tamper)
    assert await faults_of(log) == FAULTS[tamper]


async def test_entries_erased_under_a_receipt_of_fewer_are_told_with_both_counts(
    log: SealedLog,
) -> None:
    ids = await log.sealed(3)
    await log.fetch(ERASE, ids[1])
    rows = await log.fetch(
        "update activity.erasures set erased_count = 0 returning receipt_id::text as id"
    )
    says = f"1 entries are erased under the receipt {rows[0]['id']}, which counts 0"
    assert await faults_of(log) == [says]


async def test_the_comparison_begins_with_the_entries_of_its_first_moment(log: SealedLog) -> None:
    await log.sealed(3)
    forged = uuid.uuid4()
    await log.fetch(INSERT, log.tenant_id, forged, None)
    rows = await log.fetch(f"select created_at from activity.activity_log where {VICTIM}", forged)
    start = rows[0]["created_at"]
    found, _ = await verify(log, start=start)
    assert (Kind.INSERTED, forged) in found
    found, _ = await verify(log, start=start + timedelta(microseconds=1))
    assert (Kind.INSERTED, forged) not in found


async def test_a_tree_that_is_gone_is_found(log: SealedLog) -> None:
    await log.sealed(3)
    await log.fetch("delete from activity.trees")
    found, _ = await verify(log)
    assert (Kind.TREE, None) in found


async def test_a_checkpoint_of_another_key_is_found(log: SealedLog) -> None:
    await log.sealed(3)
    other = Ed25519PrivateKey.generate().public_key()
    found, _ = await verify(log, keys=(other,))
    assert found == {(Kind.TREE, None)}


async def test_an_erased_entry_is_known_by_its_leaf(log: SealedLog) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(ERASE, ids[5])
    found, done = await verify(log)
    assert found == set()
    assert (done.counts["erased"], done.counts["intact"]) == (1, 6)


async def test_an_entry_erased_without_a_receipt_is_an_altered_one(log: SealedLog) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(ERASE, ids[5])
    await log.fetch("delete from activity.erasures")
    found, _ = await verify(log)
    assert found == {(Kind.ALTERED, ids[5])}


async def test_an_expired_entry_is_known_by_its_leaf(log: SealedLog) -> None:
    old = utc_now() - timedelta(days=60)
    await log.record(entries(5, at=old))
    ids = await log.sealed(2)
    await log.fetch("delete from activity.activity_log where created_at < $1", old)
    found, done = await verify(log, kept_since=utc_now() - timedelta(days=31))
    assert (done.counts["expired"], done.counts["intact"]) == (4, 3)
    assert found == set()
    found, _ = await verify(log)
    assert found == {(Kind.REMOVED, each) for each in ids[:4]}


async def test_an_entry_without_a_batch_is_an_inserted_one_however_old_it_says_to_be(
    log: SealedLog,
) -> None:
    await log.sealed(3)
    forged = uuid.uuid4()
    await log.fetch(
        INSERT.replace("now(), now()", "now(), '2000-01-01'"), log.tenant_id, forged, None
    )
    found, _ = await verify(log)
    assert found == {(Kind.INSERTED, forged)}


async def test_an_entry_made_to_look_erased_under_a_receipt_of_others_is_found(
    log: SealedLog,
) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(ERASE, ids[5])
    await log.fetch(
        "update activity.activity_log set user_id = '00000000-0000-0000-0000-000000000000',"
        " target_id = '', metadata = '{}', ip_address = null, user_agent = '', salt = null,"
        f" erased_by = (select receipt_id from activity.erasures) where {VICTIM}",
        ids[1],
    )
    found, done = await verify(log)
    assert found == {(Kind.ALTERED, None)}
    assert done.counts["erased"] == 2


async def test_a_receipt_whose_entries_have_expired_counts_more_than_there_are(
    log: SealedLog,
) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(ERASE, ids[5])
    await log.fetch("update activity.erasures set erased_count = 9")
    assert (await verify(log))[0] == set()


async def test_the_comparison_can_be_limited_in_time_but_not_the_tree(log: SealedLog) -> None:
    old = utc_now() - timedelta(days=3)
    await log.record(entries(5, at=old), entries(6))
    await log.seal()
    await log.fetch("update activity.activity_log set target_id = 'other'")
    found, done = await verify(log, end=utc_now() - timedelta(days=1))
    assert (len(found), done.checked_count, done.computed.size) == (5, 5, 11)
    found, _ = await verify(log, start=utc_now() - timedelta(days=1))
    assert len(found) == 6


async def test_another_tenants_entries_are_not_looked_at(log: SealedLog) -> None:
    other = replace(log, tenant_id=uuid.uuid4())
    await other.sealed(3)
    await log.sealed(2)
    await log.fetch(
        "update activity.activity_log set target_id = 'other' where tenant_id = $1", other.tenant_id
    )
    found, done = await verify(log)
    assert (found, done.checked_count) == (set(), 2)


async def test_a_verification_reads_in_pieces_and_tells_how_far_it_is(
    log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.activity.proof.verification.COMPARE_LEAVES", 256)
    monkeypatch.setattr("services.activity.proof.verification.COMPARE_ENTRIES", 7)
    ids = await log.sealed(200, 200, 200)
    for at in (1, 299, 599):
        await log.fetch(f"delete from activity.activity_log where {VICTIM}", ids[at])
    about = Question(log.tenant_id, (log.public_key,), utc_now() - RETENTION)
    async with tenant_snapshot(log.pool, log.tenant_id) as connection:
        said = [each async for each in Verification(connection, about).run()]
    progress = [(p.checked_count, p.total_count) for p in said if isinstance(p, Progress)]
    assert progress == [(256, 600), (512, 600), (600, 600)]
    removed = {each.activity_id for each in said if isinstance(each, Discrepancy)}
    assert removed == {ids[1], ids[299], ids[599]}
