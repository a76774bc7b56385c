"""Trouble with one run, or with one look for runs, stops nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from chassis import embedded
from chassis.clock import new_id, utc_now
from chassis.database import tenant_transaction
from services.enrichment import store, writer
from services.enrichment.findings import (
    Answer,
    ErrorClass,
    SourceCall,
    SourceError,
    SourceName,
    Subject,
)
from services.enrichment.policy import Policy
from services.enrichment.run import RunState, Turn
from services.enrichment.turn import take_turn
from tests.enrichment.crashing import CrashingPool
from tests.enrichment.engine import ADA, TIMES, Sources, engine
from tests.enrichment.test_crashes import check_books
from tests.harness import Database

BROKEN = replace(ADA, email="ada@engines.example")
"""Of whom a turn can tell: there are two ways to ask ContactOut about them."""
SPOIL = """
with done as (
  update enrichment.steps set status = 'complete', ended_at = now()
  where run_id = $1 and source = 'sec' returning run_id)
update enrichment.prospects set insider_data = '{"nonsense": 1}'
where run_id in (select run_id from done)
"""


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("enrichment_app")


async def test_a_look_that_fails_is_followed_by_the_next(
    dsn: str, nats_server: embedded.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, failures = store.claim, [asyncpg.QueryCanceledError("cancelled"), ValueError("a bug")]

    async def failing(*values: Any) -> Any:
        if failures:
            raise failures.pop()
        return await claim(*values)

    monkeypatch.setattr(store, "claim", failing)
    async with engine(dsn, nats_server.url, Sources()) as one:
        row, *_ = await one.enriched()
    assert row["status"] == "complete"
    assert not failures


async def test_a_finding_that_cannot_be_read_is_taken_for_none(
    dsn: str, database: Database, nats_server: embedded.Nats
) -> None:
    async with engine(dsn, nats_server.url, Sources(), working=False) as idle:
        spoilt = (await idle.accept()).run_id
    await database.fetch(SPOIL, spoilt)
    async with engine(dsn, nats_server.url, Sources(), tenant_id=idle.tenant_id) as one:
        row, *_ = await one.ended(spoilt)
        assert row["status"] == "complete"


async def test_a_run_that_cannot_be_read_stops_none_of_its_tenant(
    dsn: str, nats_server: embedded.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject_of = store.subject_of

    def failing(row: asyncpg.Record) -> Subject:
        if row["email"]:
            raise ValueError("cannot be read")
        return subject_of(row)

    async with engine(dsn, nats_server.url, Sources(), working=False) as idle:
        spoilt, good = [(await idle.accept(each)).run_id for each in (BROKEN, ADA)]
    monkeypatch.setattr(store, "subject_of", failing)
    async with engine(dsn, nats_server.url, Sources(), tenant_id=idle.tenant_id) as one:
        row, *_ = await one.ended(good)
        assert row["status"] == "complete"
        assert (await one.run(spoilt))[0]["ended_at"] is None


@pytest.mark.parametrize("answered", ['{"exa": 1}', '{"exa": {"status": "?"}}', "[]"])
async def test_answers_that_cannot_be_read_are_taken_for_none(
    dsn: str, database: Database, nats_server: embedded.Nats, answered: str
) -> None:
    sources, prospect_id = Sources(), new_id()
    async with engine(dsn, nats_server.url, sources) as one:
        await one.enriched(prospect_id=prospect_id)
        await database.fetch("update enrichment.prospects set answered = $1", answered)
        asked = [one.enriched(prospect_id=each) for each in (prospect_id, new_id())]
        for row, _ in await asyncio.gather(*asked):
            assert row["status"] == "complete"
    assert sources.calls[SourceName.EXA] == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(3, 7))
async def test_what_is_paid_for_is_kept_while_postgres_is_away(
    dsn: str, database: Database, nats_server: embedded.Nats, at: int, after: bool
) -> None:
    sources, pools = Sources(), []

    def pool_of(pool: Any) -> CrashingPool:
        pools.append(CrashingPool(pool, at, after=after))
        return pools[0]

    async with engine(dsn, nats_server.url, sources, working=False) as idle:
        run_id = (await idle.accept()).run_id
        given: dict[str, Any] = {"tenant_id": idle.tenant_id, "pool_of": pool_of}
        async with engine(dsn, nats_server.url, sources, **given) as one:
            async with asyncio.timeout(10):
                while not pools[0].dead and (await idle.run(run_id))[0]["open"]:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            pools[0].revive()
            one.worker.wake()
            await idle.settled(run_id)
    await check_books(database, sources, run_id)
    attempts = await database.fetch("select status from enrichment.attempts")
    uncertain = [each for each in attempts if each["status"] == "uncertain"]
    # Only of a commit whose acknowledgement was lost nobody knows whether its calls have left.
    assert after or not uncertain


async def test_a_turn_that_is_lost_to_another_transaction_is_taken_again(
    dsn: str, nats_server: embedded.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, failures = store.save_turns, [asyncpg.DeadlockDetectedError("deadlock detected")] * 2

    async def failing(*values: Any) -> Any:
        if failures:
            raise failures.pop()
        return await save(*values)

    monkeypatch.setattr(store, "save_turns", failing)
    sources = Sources()
    async with engine(dsn, nats_server.url, sources) as one:
        row, _ = await one.enriched()
    assert (row["status"], failures) == ("complete", [])
    assert sources.calls == dict.fromkeys(SourceName, 1)


async def test_a_cancelled_run_breaks_a_free_call_off(dsn: str, nats_server: embedded.Nats) -> None:
    out, broken_off = asyncio.Event(), asyncio.Event()

    async def hang(call: SourceCall) -> Answer:
        out.set()
        try:
            await asyncio.sleep(60)
        finally:
            broken_off.set()
        raise AssertionError

    sources = Sources(answers={SourceName.SEC: hang})
    async with engine(dsn, nats_server.url, sources) as one:
        run_id = (await one.accept()).run_id
        await out.wait()
        async with tenant_transaction(one.pool, one.tenant_id) as connection:
            await connection.fetchval(store.SQL.request_cancel, one.tenant_id, run_id, utc_now())
        one.worker.cancel_run(run_id)
        row, steps = await one.settled(run_id, seconds=5)
        await asyncio.wait_for(broken_off.wait(), 1)
    assert (row["status"], steps[SourceName.SEC].status) == ("cancelled", "skipped")


async def test_requests_and_turns_under_a_days_budget_never_block_each_other_in_a_circle(
    dsn: str, database: Database, nats_server: embedded.Nats
) -> None:
    policy = Policy(day_budget_micros=10**12)
    async with engine(dsn, nats_server.url, Sources(), policy=policy) as one:
        prospects = [new_id() for _ in range(3)]

        async def ask(number: int) -> None:
            for turn in range(12):
                prospect_id = prospects[(number + turn) % 3]
                accepted = await one.accept(prospect_id=prospect_id, force=True)
                await one.ended(accepted.run_id)

        await asyncio.gather(*map(ask, range(6)))
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    assert (await database.fetch(deadlocks))[0]["deadlocks"] == 0
    uncertain = "select from enrichment.attempts where status = 'uncertain'"
    assert not await database.fetch(uncertain)


async def test_an_ended_run_that_waits_for_a_late_source_can_be_cancelled(
    dsn: str, nats_server: embedded.Nats
) -> None:
    away = SourceError(ErrorClass.THROTTLED, "come back later", retry_after=2.5)
    sources = Sources(answers={SourceName.EXA: away})
    times = replace(TIMES, deadline=timedelta(seconds=1))
    async with engine(dsn, nats_server.url, sources, times=times) as one:
        run_id = (await one.accept()).run_id
        assert (await one.ended(run_id))[0]["open"]
        sources.answers = {}
        async with tenant_transaction(one.pool, one.tenant_id) as connection:
            assert await connection.fetchval(
                store.SQL.request_cancel, one.tenant_id, run_id, utc_now()
            )
        one.worker.wake()
        await one.settled(run_id)
    assert sources.calls[SourceName.EXA] == 1


async def test_a_call_that_is_out_past_the_last_moment_costs_no_turns(
    dsn: str, database: Database, nats_server: embedded.Nats
) -> None:
    async def hang(call: SourceCall) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    commits = "select xact_commit from pg_stat_database where datname = current_database()"
    sources = Sources(answers={SourceName.EXA: hang})
    times = replace(TIMES, deadline=timedelta(seconds=1), late=timedelta())
    async with engine(dsn, nats_server.url, sources, times=times) as one:
        await one.enriched()
        await asyncio.sleep(1.5)
        before = (await database.fetch(commits))[0]["xact_commit"]
        await asyncio.sleep(2)
        after = (await database.fetch(commits))[0]["xact_commit"]
    assert after - before < 100


async def test_a_turn_that_goes_wrong_is_its_runs_alone(
    dsn: str, nats_server: embedded.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(state: RunState, *values: Any) -> Turn:
        if "email" in state.lookups[SourceName.CONTACTOUT]:
            raise ValueError("a bug")
        return take_turn(state, *values)

    monkeypatch.setattr(writer, "take_turn", buggy)
    sources = Sources()
    async with engine(dsn, nats_server.url, sources) as one:
        subjects = [BROKEN, *[ADA] * 20]
        accepted = await asyncio.gather(*(one.accept(each) for each in subjects))
        for each in accepted[1:]:
            row, *_ = await one.ended(each.run_id)
            assert row["status"] == "complete"
    assert sources.calls[SourceName.CONTACTOUT] == 20
