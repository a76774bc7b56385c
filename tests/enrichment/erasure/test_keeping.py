"""Retention of history: old runs are deleted, never one in flight."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from chassis.database import Pool
from services.enrichment.erasure import history_keeper
from services.enrichment.erasure.history_keeper import Keeper
from tests.enrichment.rows import NOON, Rows
from tests.harness import Database

pytestmark = pytest.mark.parametrize("pool", ["enrichment"], indirect=True)
OLD, NEW = NOON - timedelta(days=31), NOON - timedelta(days=29)


@pytest.fixture
def keeper(pool: Pool) -> Keeper:
    """A keeper that keeps thirty days, at noon."""
    return Keeper(pool, timedelta(days=30), lambda: NOON)


async def kept(database: Database) -> set[uuid.UUID]:
    """Return the runs that are there."""
    return {row["run_id"] for row in await database.fetch("select run_id from enrichment.runs")}


async def test_runs_that_ended_long_ago_are_deleted_with_all_that_belongs_to_them(
    keeper: Keeper, rows: Rows, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_keeper, "DELETE_ROWS", 2)
    prospect_id = await rows.prospect()
    old = [await rows.run(prospect_id, at=OLD, steps={"exa": "complete"}) for _ in range(5)]
    await database.fetch(
        "insert into enrichment.attempts (tenant_id, run_id, source, attempt, started_at)"
        " select tenant_id, run_id, source, 1, now() from enrichment.steps"
    )
    await rows.batch(*old)
    new = {await rows.run(prospect_id, at=NEW), await rows.run(prospect_id)}
    other = await Rows(database, uuid.uuid4()).run(at=NEW)
    await keeper.keep(asyncio.Event())
    assert await kept(database) == {*new, other}
    # A batch keeps its places, so that one that is sent again makes no run anew.
    for table in ("steps", "attempts", "batch_runs where run_id is not null"):
        assert await database.fetch(f"select from enrichment.{table}") == []


async def test_a_prospects_newest_run_stays_as_long_as_the_prospect(
    keeper: Keeper, rows: Rows, database: Database
) -> None:
    prospect_id = await rows.prospect(at=OLD)
    await rows.run(prospect_id, at=OLD)
    newest = await rows.run(prospect_id, at=OLD)
    await keeper.keep(asyncio.Event())
    assert await kept(database) == {newest}


@pytest.mark.parametrize("column", ["ended_at = null, status = 'in_progress'", "open = true"])
async def test_a_run_in_flight_or_open_for_a_late_source_is_never_forgotten(
    keeper: Keeper, rows: Rows, database: Database, column: str
) -> None:
    prospect_id = await rows.prospect()
    run_id = await rows.run(prospect_id, at=OLD)
    await database.fetch(f"update enrichment.runs set {column}")
    newest = await rows.run(prospect_id)
    await keeper.keep(asyncio.Event())
    assert await kept(database) == {run_id, newest}


async def test_request_ids_are_forgotten_after_a_day_and_with_their_run(
    keeper: Keeper, rows: Rows, database: Database
) -> None:
    runs = {
        "old": await rows.run(at=OLD),
        "new": await rows.run(at=NEW),
        "open": await rows.run(at=OLD, status="pending"),
        "gone": uuid.uuid4(),
    }
    for taken_at in (NOON - timedelta(days=2), NOON - timedelta(hours=23)):
        await database.fetch(
            "insert into enrichment.requests select $1, gen_random_uuid(), r, $3"
            " from unnest($2::uuid[]) r",
            rows.tenant_id,
            list(runs.values()),
            taken_at,
        )
    await keeper.keep(asyncio.Event())
    left = await database.fetch("select run_id, created_at from enrichment.requests")
    by_run = {name: [r for r in left if r["run_id"] == run_id] for name, run_id in runs.items()}
    assert {name: len(each) for name, each in by_run.items()} == {
        "old": 1, "new": 2, "open": 2, "gone": 1,
    }  # fmt: skip


async def test_batches_without_a_run_under_way_are_forgotten(
    keeper: Keeper, rows: Rows, database: Database
) -> None:
    prospect_id = await rows.prospect()
    ended, flying = await rows.run(at=OLD), await rows.run(prospect_id, at=OLD, status="pending")
    batches = [await rows.batch(ended), await rows.batch(ended, flying)]
    await database.fetch("update enrichment.batches set created_at = $1", OLD)
    young = await rows.batch(ended)
    await database.fetch("update enrichment.batches set created_at = $1 where batch_id = $2",
                         NEW, young)  # fmt: skip
    await keeper.keep(asyncio.Event())
    left = await database.fetch("select batch_id from enrichment.batches")
    assert {row["batch_id"] for row in left} == {batches[1], young}


async def test_one_keeper_works_at_a_time(
    keeper: Keeper, rows: Rows, database: Database, pool: Pool
) -> None:
    prospect_id = await rows.prospect()
    await rows.run(prospect_id, at=OLD)
    await rows.run(prospect_id)
    async with pool.acquire() as other, other.transaction():
        await other.fetchval("select pg_try_advisory_xact_lock(hashtext('enrichment.keeping'))")
        await keeper.keep(asyncio.Event())
        assert len(await kept(database)) == 2
    await keeper.keep(asyncio.Event())
    assert len(await kept(database)) == 1
