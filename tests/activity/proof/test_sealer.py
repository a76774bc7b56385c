"""Sealing: each batch is put into the tree once, and the signed root is that of its leaves."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from chassis.clock import utc_now
from chassis.settings import SettingsError
from services.activity.proof import checkpoint, merkle, tree
from services.activity.proof.checkpoint import Statement
from services.activity.proof.sealer import Sealer
from services.cli.operate.services import ServiceName
from tests.activity.sealed_log import SealedLog, entries
from tests.harness import Services

PLACES = (
    "select first_leaf, entry_count from activity.batches where tenant_id = $1 order by first_leaf"
)


async def assert_sealed(log: SealedLog, size: int) -> None:
    """The leaves stand without gap or overlap, and their root is the one that was signed."""
    rows = await log.fetch(PLACES, log.tenant_id)
    ends = list(accumulate(row["entry_count"] for row in rows))
    assert [row["first_leaf"] for row in rows] == [0, *ends[:-1]]
    leaves = await log.leaves()
    stored = await log.tree()
    signed = checkpoint.read(stored.note, log.public_key)
    origin = checkpoint.origin_of(log.tenant_id)
    assert signed == Statement(origin, size, merkle.root_of(leaves))
    assert stored.frontier == merkle.append(merkle.Frontier(), b"".join(leaves)).frontier


async def test_recorded_batches_are_sealed_in_one_tree(log: SealedLog) -> None:
    await log.record(entries(3), entries(1), entries(500))
    assert await log.seal() == 504
    await assert_sealed(log, 504)


async def test_later_batches_are_appended(log: SealedLog) -> None:
    for size in (300, 1, 700, 5):
        await log.record(entries(size))
        await log.seal()
    await assert_sealed(log, 1006)


async def test_sealing_again_changes_nothing(log: SealedLog) -> None:
    await log.sealed(5)
    before = await log.tree()
    assert await log.seal() == 0
    assert await log.tree() == before


async def test_the_roots_of_full_subtrees_are_kept_in_tiles(log: SealedLog) -> None:
    await log.sealed(100, 500, 3)
    await log.sealed(1000)
    leaves = await log.leaves()
    rows = await log.fetch("select level, tile, hashes from activity.tiles order by level, tile")
    full = [merkle.root_of(leaves[at : at + 256]) for at in range(0, 1536, 256)]
    assert [tuple(row) for row in rows] == [(1, 0, b"".join(full))]


async def test_more_than_one_transactions_worth_is_sealed_at_once(
    log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.activity.proof.sealer.MAX_ENTRIES", 10)
    await log.record(*(entries(7) for _ in range(5)))
    assert await log.seal() == 35
    await assert_sealed(log, 35)


@pytest.mark.parametrize(("limit", "most"), [("MAX_ENTRIES", 7), ("MAX_BATCHES", 2)])
async def test_where_a_transaction_takes_all_it_may_another_one_follows(
    log: SealedLog, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(f"services.activity.proof.sealer.{limit}", most)
    await log.record(*(entries(7) for _ in range(5)))
    assert await log.seal() == 35
    await assert_sealed(log, 35)


async def test_what_comes_while_it_seals_is_left_for_the_next_look(
    log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tree = tree.save_tree

    async def save_while_recording(*values: Any) -> None:
        await log.record(entries(2))
        await save_tree(*values)

    await log.record(entries(3))
    with monkeypatch.context() as patch:
        patch.setattr(tree, "save_tree", save_while_recording)
        async with asyncio.timeout(30):
            assert await log.seal() == 3
    assert await log.seal() == 2
    await assert_sealed(log, 5)


async def test_each_tenant_has_a_tree_of_its_own(log: SealedLog) -> None:
    other = replace(log, tenant_id=uuid.uuid4())
    await log.record(entries(3))
    await other.record(entries(4))
    assert await log.seal() == 7
    await assert_sealed(log, 3)
    await assert_sealed(other, 4)


async def test_sealers_at_once_seal_each_batch_once(log: SealedLog) -> None:
    async def record() -> None:
        for _ in range(10):
            await log.record(entries(20))

    async def seal(sealer: Sealer) -> int:
        return sum([await sealer.seal_pending() for _ in range(20)])

    counts = await asyncio.gather(record(), record(), *(seal(log.sealer()) for _ in range(3)))
    rest = await log.seal()
    assert rest + sum(count or 0 for count in counts) == 400
    await assert_sealed(log, 400)


async def test_a_sealer_that_dies_in_the_middle_changes_nothing(
    log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.sealed(3)
    before = await log.tree()
    await log.record(entries(300))

    async def die(*_: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(tree, "save_tree", die)
        with pytest.raises(ConnectionResetError):
            await log.seal()
    assert await log.tree() == before
    assert await log.fetch("select 1 from activity.tiles") == []
    unsealed = "select entry_count from activity.batches where first_leaf is null"
    assert [row["entry_count"] for row in await log.fetch(unsealed)] == [300]
    await log.seal()
    await assert_sealed(log, 303)


@pytest.mark.parametrize(
    "tamper",
    [
        "update activity.trees set frontier = sha256('x') || sha256('y')",
        "update activity.trees set size = 5",
        "update activity.trees"
        " set note = replace(note, E'\\n3\\n', E'\\n' || repeat('3', 5000) || E'\\n')",
        "update activity.trees set note = replace(note, 'prospect', 'prospekt')",
        "update activity.trees set tenant_id = gen_random_uuid()",
        "delete from activity.trees",
        "update activity.batches set first_leaf = 3 where first_leaf is null",
    ],
)
async def test_a_tree_that_somebody_changed_is_not_signed(log: SealedLog, tamper: str) -> None:
    await log.sealed(3)
    await log.record(entries(1), entries(1))
    await log.fetch(
        f"with first as (select batch_id from activity.batches where first_leaf is null"
        f" order by batch_id limit 1) {tamper}"
        + (" and batch_id = (select batch_id from first)" if "null" in tamper else "")
    )
    before = await log.fetch("select * from activity.trees")
    with capture_logs() as told:
        assert await log.seal() == 0
    assert [each["event"] for each in told] == ["sealing stopped"]
    assert await log.fetch("select * from activity.trees") == before


async def test_a_tree_of_another_key_is_not_appended_to(log: SealedLog) -> None:
    await log.sealed(3)
    await log.record(entries(1))
    other = Sealer(log.pool, Ed25519PrivateKey.generate(), utc_now)
    with capture_logs() as told:
        assert await other.seal_pending() == 0
        assert await other.seal_pending() == 0
    says = {"kind": "TreeBroken", "error": "the checkpoint is signed with another key"}
    assert told == [
        {"event": "sealing stopped", "log_level": "error", "tenant": str(log.tenant_id)} | says
    ]


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (
            "update activity.trees set frontier = sha256('x') || sha256('y')",
            "the tree does not have the signed root",
        ),
        (
            "delete from activity.trees",
            "the tree is gone, but not the batches that were sealed in it",
        ),
    ],
)
async def test_the_log_says_what_is_wrong_with_a_tree(
    log: SealedLog, tamper: str, says: str
) -> None:
    await log.sealed(3)
    await log.record(entries(1))
    await log.fetch(tamper)
    with capture_logs() as told:
        await log.seal()
    assert [each["error"] for each in told] == [says]


async def test_a_broken_tree_does_not_keep_the_others_from_being_sealed(log: SealedLog) -> None:
    other = replace(log, tenant_id=uuid.uuid4())
    await log.sealed(3)
    await log.fetch("update activity.trees set note = replace(note, 'prospect', 'prospekt')")
    await log.record(entries(1))
    await other.record(entries(4))
    assert await log.seal() == 4
    await assert_sealed(other, 4)


async def test_a_tree_that_is_broken_again_is_logged_again(log: SealedLog) -> None:
    await log.sealed(3)
    sealer, told = log.sealer(), []
    for names in (("prospect", "prospekt"), ("prospekt", "prospect"), ("prospect", "prospekt")):
        await log.fetch("update activity.trees set note = replace(note, $1, $2)", *names)
        await log.record(entries(1))
        with capture_logs() as logs:
            await sealer.seal_pending()
        told.append([each["event"] for each in logs])
    assert told == [["sealing stopped"], [], ["sealing stopped"]]


async def test_it_seals_until_it_is_told_to_stop(log: SealedLog) -> None:
    stopping = asyncio.Event()
    running = asyncio.create_task(log.sealer().run(stopping))
    await log.record(entries(3))
    async with asyncio.timeout(30):
        while not await log.fetch("select from activity.trees"):
            await asyncio.sleep(0.01)
        stopping.set()
        await running
    await assert_sealed(log, 3)


async def test_a_new_key_goes_on_where_the_former_one_is_trusted(log: SealedLog) -> None:
    await log.sealed(3)
    await log.record(entries(4))
    renewed = replace(log, key=Ed25519PrivateKey.generate())
    sealer = Sealer(log.pool, renewed.key, utc_now, (log.public_key,))
    assert await sealer.seal_pending() == 4
    await assert_sealed(renewed, 7)


async def test_a_service_without_its_key_does_not_start_and_says_why(services: Services) -> None:
    wrong = services.folder / "wrong.pem"
    wrong.write_text("no key")
    for path, says in (
        (wrong, "is not an Ed25519 private key"),
        (services.folder / "missing.pem", "No such file"),
    ):
        with pytest.raises(SettingsError, match=f"PROSPECT_LOG_SIGNING_KEY_FILE.*{says}"):
            async with services.running(ServiceName.ACTIVITY, log_signing_key_file=path):
                pass
