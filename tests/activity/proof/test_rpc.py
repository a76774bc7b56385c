"""Proofs over gRPC: what the service answers is verified with the pure functions, and no server."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.clock import to_timestamp, utc_now
from services.activity.months.drop_expired import drop_expired_months
from services.activity.months.partitions import Partitions
from services.activity.proof import checkpoint, merkle
from services.activity.retention.keeper import Keeper
from services.cli.operate.services import ServiceName
from tests.activity.proof.test_verification import ERASE
from tests.activity.sealed_log import SealedLog, entries
from tests.harness import Identity, Services, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub


async def newest(activity: ActivityServiceAsyncStub, who: Identity) -> pb.Checkpoint:
    """Return the newest checkpoint."""
    request = pb.GetCheckpointRequest()
    return (await activity.GetCheckpoint(request, metadata=who.metadata())).checkpoint


async def newest_or_none(activity: ActivityServiceAsyncStub, who: Identity) -> pb.Checkpoint | None:
    """Return the newest checkpoint, None where nothing is sealed yet."""
    try:
        return await newest(activity, who)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise


async def inclusion(
    activity: ActivityServiceAsyncStub, who: Identity, activity_id: object, tree_size: int = 0
) -> pb.GetLogProofResponse:
    """Return the inclusion proof of an entry."""
    query = pb.InclusionQuery(activity_id=str(activity_id))
    request = pb.GetLogProofRequest(inclusion=query, tree_size=tree_size)
    return await activity.GetLogProof(request, metadata=who.metadata())


async def consistency(
    activity: ActivityServiceAsyncStub, who: Identity, first: int, tree_size: int = 0
) -> pb.GetLogProofResponse:
    """Return the proof that the first leaves are the beginning of the log."""
    query = pb.ConsistencyQuery(first_tree_size=first)
    request = pb.GetLogProofRequest(consistency=query, tree_size=tree_size)
    return await activity.GetLogProof(request, metadata=who.metadata())


async def refusal(call: object) -> grpc.aio.AioRpcError:
    """Return what a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call  # type: ignore[misc]
    return refused.value


async def test_the_checkpoint_is_signed_and_says_what_the_log_holds(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    await our_log.sealed(3, 4)
    given = await newest(activity, ours)
    signed = checkpoint.read(given.note, our_log.public_key)
    assert (given.tree_size, given.root_hash) == (signed.size, signed.root)
    assert signed.root == merkle.root_of(await our_log.leaves())
    assert given.public_key == checkpoint.public_pem(our_log.public_key)


async def test_what_the_service_records_it_seals_by_itself_within_seconds(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = pb.NewActivity(user_id=str(ours.user_id), action_type=pb.ACTION_TYPE_LOGIN)
    request = pb.RecordActivityRequest(activity=entry)
    recorded = await activity.RecordActivity(request, metadata=ours.metadata())
    async with asyncio.timeout(30):
        while (given := await newest_or_none(activity, ours)) is None:
            pass
    proof = await inclusion(activity, ours, recorded.activity_id)
    assert (given.tree_size, proof.leaf_hash, list(proof.hashes)) == (1, given.root_hash, [])


async def test_every_entry_of_a_log_of_any_size_is_proven(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    chance = random.Random(7)
    for _ in range(4):
        ids = await our_log.sealed(*(chance.randint(1, 300) for _ in range(chance.randint(1, 4))))
        leaves = await our_log.leaves()
        for index in {0, len(ids) - 1, *chance.sample(range(len(ids)), 6)}:
            size = chance.randint(index + 1, len(ids))
            proof = await inclusion(activity, ours, ids[index], size)
            assert (proof.leaf_index, proof.leaf_hash) == (index, leaves[index])
            assert (proof.tree_size, proof.root_hash) == (size, merkle.root_of(leaves[:size]))
            assert merkle.verify_inclusion(
                proof.leaf_hash, index, size, proof.hashes, proof.root_hash
            )


async def test_a_log_of_more_than_one_level_of_tiles_is_proven(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    ids = await our_log.sealed(10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10)
    given = await newest(activity, ours)
    for index in (0, 255, 256, 65_535, 65_536, 70_009):
        proof = await inclusion(activity, ours, ids[index])
        assert proof.root_hash == given.root_hash
        assert merkle.verify_inclusion(
            proof.leaf_hash, index, 70_010, proof.hashes, given.root_hash
        )
    proof = await consistency(activity, ours, 65_537)
    first = merkle.root_of((await our_log.leaves())[:65_537])
    assert merkle.verify_consistency(65_537, 70_010, first, given.root_hash, proof.hashes)


async def test_each_checkpoint_is_the_beginning_of_the_later_ones(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    kept = []
    for sizes in ((1,), (1,), (255, 3), (700,), (9, 9)):
        await our_log.sealed(*sizes)
        kept.append(await newest(activity, ours))
    for place, new in enumerate(kept):
        for old in kept[: place + 1]:
            proof = await consistency(activity, ours, old.tree_size, new.tree_size)
            assert proof.root_hash == new.root_hash
            assert merkle.verify_consistency(
                old.tree_size, new.tree_size, old.root_hash, new.root_hash, proof.hashes
            )


async def test_the_proof_of_an_erased_entry_stays_what_it_was(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    ids = await our_log.sealed(3, 4)
    before = await inclusion(activity, ours, ids[4])
    await our_log.fetch(ERASE, ids[4])
    assert await inclusion(activity, ours, ids[4]) == before


async def test_an_entry_is_found_by_its_time_where_the_id_tells_none(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    columns = entries(3)
    columns.activity_ids[1] = str(uuid.uuid4())
    await our_log.record(columns)
    await our_log.seal_all()
    error = await refusal(inclusion(activity, ours, columns.activity_ids[1]))
    assert violations(error) == [("inclusion.created_at", "activity.created_at_with_id")]
    query = pb.InclusionQuery(activity_id=columns.activity_ids[1])
    query.created_at.FromMicroseconds(columns.created_at[1])
    request = pb.GetLogProofRequest(inclusion=query)
    proof = await activity.GetLogProof(request, metadata=ours.metadata())
    assert (proof.leaf_index, proof.tree_size) == (1, 3)


async def test_nothing_sealed_is_not_found(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    for call in (newest(activity, ours), consistency(activity, ours, 1)):
        assert (await refusal(call)).code() is grpc.StatusCode.NOT_FOUND


async def test_another_tenants_log_cannot_be_proven(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity, our_log: SealedLog
) -> None:
    ids = await our_log.sealed(3)
    error = await refusal(inclusion(activity, theirs, ids[0]))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    await replace(our_log, tenant_id=theirs.tenant_id).sealed(5)
    error = await refusal(inclusion(activity, theirs, ids[0]))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert (await newest(activity, theirs)).tree_size == 5


async def test_sizes_that_no_checkpoint_reaches_are_refused_by_field(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    ids = await our_log.sealed(3)
    for call, field in (
        (inclusion(activity, ours, ids[0], 4), "tree_size"),
        (inclusion(activity, ours, ids[2], 2), "tree_size"),
        (consistency(activity, ours, 4), "consistency.first_tree_size"),
        (consistency(activity, ours, 3, 2), "consistency.first_tree_size"),
    ):
        assert violations(await refusal(call)) == [(field, "tree_size")]


async def test_a_proof_from_a_tree_that_somebody_changed_is_not_given(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    ids = await our_log.sealed(600)
    await our_log.fetch("update activity.tiles set hashes = sha256('x') || sha256('y')")
    error = await refusal(inclusion(activity, ours, ids[0]))
    assert error.code() is grpc.StatusCode.DATA_LOSS


async def test_verification_streams_progress_findings_and_a_summary(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    ids = await our_log.sealed(3, 4)
    await our_log.fetch(ERASE, ids[0])
    await our_log.fetch("delete from activity.activity_log where activity_id = $1", ids[5])
    call = activity.VerifyLog(pb.VerifyLogRequest(), metadata=ours.metadata())
    said = [each async for each in call]
    assert [each.WhichOneof("said") for each in said] == ["finding", "progress", "summary"]
    assert said[0].finding.activity_id == str(ids[5])
    assert said[0].finding.kind == pb.FINDING_KIND_REMOVED
    summary = said[-1].summary
    assert not summary.intact
    assert (summary.checked_count, summary.erased_count, summary.finding_count) == (6, 1, 1)
    assert (summary.tree_size, summary.root_hash) == (7, merkle.root_of(await our_log.leaves()))


async def test_verification_sends_a_thousand_findings_and_counts_the_others(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    await our_log.sealed(900, 900)
    await our_log.fetch("update activity.activity_log set target_id = 'other'")
    call = activity.VerifyLog(pb.VerifyLogRequest(), metadata=ours.metadata())
    said = [each async for each in call]
    assert sum(each.HasField("finding") for each in said) == 1_000
    assert said[-1].summary.finding_count == 1_800


async def test_verification_takes_a_period(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    await our_log.record(entries(5, at=utc_now() - timedelta(days=3)))
    await our_log.sealed(6)
    start = to_timestamp(utc_now() - timedelta(days=1))
    call = activity.VerifyLog(pb.VerifyLogRequest(start_time=start), metadata=ours.metadata())
    summary = [each async for each in call][-1].summary
    assert (summary.intact, summary.checked_count, summary.tree_size) == (True, 6, 11)


async def test_a_verification_of_no_time_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    now = to_timestamp(utc_now())
    request = pb.VerifyLogRequest(start_time=now, end_time=now)
    error = await refusal(activity.VerifyLog(request, metadata=ours.metadata()).read())
    assert violations(error) == [("end_time", "verify.end_after_start")]


async def summary_of(activity: ActivityServiceAsyncStub, who: Identity) -> pb.VerifySummary:
    """Return the summary of a verification."""
    call = activity.VerifyLog(pb.VerifyLogRequest(), metadata=who.metadata())
    return [each async for each in call][-1].summary


async def test_a_log_is_intact_after_a_user_was_erased(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    columns = entries(4, metadata=({}, {"new_list": True, "name": "CFOs"}))
    columns.user_ids[2:] = [str(ours.user_id)] * 2
    await our_log.record(columns)
    await our_log.seal_all()
    request = pb.EraseUserRequest(user_id=str(ours.user_id))
    await activity.EraseUser(request, metadata=ours.metadata())
    summary = await summary_of(activity, ours)
    assert (summary.intact, summary.checked_count, summary.erased_count) == (True, 2, 2)


async def test_an_entry_erased_before_it_is_sealed_is_sealed_by_its_leaf(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    columns = entries(3)
    await our_log.record(columns)
    request = pb.EraseUserRequest(user_id=columns.user_ids[0])
    await activity.EraseUser(request, metadata=ours.metadata())
    await our_log.seal_all()
    summary = await summary_of(activity, ours)
    assert (summary.intact, summary.erased_count, summary.tree_size) == (True, 3, 3)


async def test_a_log_is_intact_while_a_tenant_keeps_it_shorter_and_longer_again(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog, nats: Client
) -> None:
    await our_log.record(entries(5, at=utc_now() - timedelta(days=40)), entries(3))
    await our_log.seal_all()
    shorter = pb.UpdateRetentionRequest(retention_days=30)
    await activity.UpdateRetention(shorter, metadata=ours.metadata())
    partitions = Partitions(our_log.pool, utc_now)
    await Keeper(our_log.pool, nats, partitions, utc_now, asyncio.Event()).keep(asyncio.Event())
    for days in (30, 0, 60):
        longer = pb.UpdateRetentionRequest(retention_days=days)
        await activity.UpdateRetention(longer, metadata=ours.metadata())
        summary = await summary_of(activity, ours)
        assert (summary.intact, summary.checked_count, summary.expired_count) == (True, 3, 5)


async def test_a_log_is_intact_when_it_is_kept_longer_after_months_were_dropped(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    await our_log.record(entries(5, at=utc_now() - timedelta(days=100)), entries(3))
    await our_log.seal_all()
    owner = our_log.database.dsn("activity_owner")
    first_kept = (utc_now() - timedelta(days=31)).date()
    assert await drop_expired_months(owner, first_kept, dry_run=True)
    assert not await our_log.fetch("select from activity.drops")
    assert await drop_expired_months(owner, first_kept)
    await drop_expired_months(owner, first_kept - timedelta(days=300))
    summary = await summary_of(activity, ours)
    assert (summary.intact, summary.checked_count, summary.expired_count) == (True, 3, 5)


async def test_a_service_with_a_new_key_gives_what_the_former_one_signed(
    services: Services, ours: Identity, our_log: SealedLog
) -> None:
    await our_log.sealed(3)
    former = services.folder / "former.pem"
    former.write_text(checkpoint.public_pem(our_log.public_key))
    renewed = replace(services, log_key=Ed25519PrivateKey.generate())
    settings = {"log_former_keys_file": former}
    async with renewed.running(ServiceName.ACTIVITY, **settings) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        given = await newest(activity, ours)
        assert given.public_key == former.read_text()
        assert (await summary_of(activity, ours)).intact


async def test_a_checkpoint_that_the_service_did_not_sign_is_not_given(
    activity: ActivityServiceAsyncStub, ours: Identity, our_log: SealedLog
) -> None:
    await our_log.sealed(3)
    await our_log.fetch("update activity.trees set note = replace(note, chr(10) || '3', '4')")
    error = await refusal(newest(activity, ours))
    assert error.code() is grpc.StatusCode.DATA_LOSS
