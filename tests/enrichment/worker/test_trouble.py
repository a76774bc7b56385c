"""Trouble with one run, or with one look for runs, stops nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client

from chassis.clock import new_id, utc_now
from chassis.database import role_transaction, tenant_transaction
from devstack import servers
from services.enrichment import sql
from services.enrichment.policy.policy import Policy
from services.enrichment.run import records
from services.enrichment.run.state import Lost, Returned, RunState, Turn
from services.enrichment.run.turn import take_turn
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Person
from services.enrichment.worker import store, turn_writer
from services.enrichment.worker.loop import CLAIMER
from tests.enrichment.crashing import Crashed, CrashingPool
from tests.enrichment.engine import ADA, COST, TIMES, Sources, engine, finding
from tests.enrichment.worker.test_crashes import check_books
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
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_due, failures = (
        store.lease_due,
        [asyncpg.QueryCanceledError("cancelled"), ValueError("a bug")],
    )

    async def failing(*values: Any) -> Any:
        if failures:
            raise failures.pop()
        return await lease_due(*values)

    monkeypatch.setattr(store, "lease_due", failing)
    async with engine(dsn, nats_server.url, Sources()) as one:
        row, *_ = await one.enriched()
    assert row["status"] == "complete"
    assert not failures


async def test_a_finding_that_cannot_be_read_is_taken_for_none(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    async with engine(dsn, nats_server.url, Sources(), working=False) as idle:
        spoilt = (await idle.accept()).run_id
    await database.fetch(SPOIL, spoilt)
    async with engine(dsn, nats_server.url, Sources(), tenant_id=idle.tenant_id) as one:
        row, *_ = await one.ended(spoilt)
        assert row["status"] == "complete"


async def test_a_run_that_cannot_be_read_stops_none_of_its_tenant(
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    person_of = records.person_of

    def failing(row: asyncpg.Record) -> Person:
        if row["email"]:
            raise ValueError("cannot be read")
        return person_of(row)

    async with engine(dsn, nats_server.url, Sources(), working=False) as idle:
        spoilt, good = [(await idle.accept(each)).run_id for each in (BROKEN, ADA)]
    monkeypatch.setattr("services.enrichment.worker.store.person_of", failing)
    async with engine(dsn, nats_server.url, Sources(), tenant_id=idle.tenant_id) as one:
        row, *_ = await one.ended(good)
        assert row["status"] == "complete"
        assert (await one.run(spoilt))[0]["ended_at"] is None


@pytest.mark.parametrize("answered", ['{"exa": 1}', '{"exa": {"status": "?"}}', "[]"])
async def test_answers_that_cannot_be_read_are_taken_for_none(
    dsn: str, database: Database, nats_server: servers.Nats, answered: str
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
    dsn: str, database: Database, nats_server: servers.Nats, at: int, after: bool
) -> None:
    sources, pools = Sources(), []

    def pool_of(pool: Any) -> CrashingPool:
        pools.append(CrashingPool(pool, at, after=after))
        return pools[0]

    async with engine(dsn, nats_server.url, sources, working=False) as idle:
        run_id = (await idle.accept()).run_id
        given: dict[str, Any] = {"tenant_id": idle.tenant_id, "pool_of": pool_of}
        async with engine(dsn, nats_server.url, sources, **given) as one:
            async with asyncio.timeout(30):
                while not pools[0].dead and (await idle.run(run_id))[0]["open"]:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            pools[0].revive()
            one.worker.wake()
            await idle.calls_ended(run_id)
    await check_books(database, sources, run_id)
    attempts = await database.fetch("select status from enrichment.attempts")
    uncertain = [each for each in attempts if each["status"] == "uncertain"]
    # Only of a commit whose acknowledgement was lost nobody knows whether its calls have left.
    assert after or not uncertain


async def test_a_run_goes_on_at_once_where_only_the_acknowledgement_of_a_turn_was_lost(
    dsn: str, database: Database, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, pools, turns = Sources(), [], 0
    save_turns = store.save_turns

    def pool_of(pool: Any) -> CrashingPool:
        pools.append(CrashingPool(pool, 1_000_000, after=True))
        return pools[0]

    async def saving(*values: Any) -> Any:
        nonlocal turns
        turns += 1
        if turns == 2:  # the commit that comes next is this turn's
            pools[0].die_at_next_commit()
        return await save_turns(*values)

    monkeypatch.setattr(store, "save_turns", saving)
    times = replace(TIMES, lease=timedelta(hours=1))
    async with engine(dsn, nats_server.url, sources, times=times, pool_of=pool_of) as one:
        run_id = (await one.accept()).run_id
        async with asyncio.timeout(60):
            while not pools[0].dead:
                await asyncio.sleep(0.01)
        pools[0].revive()
        await one.calls_ended(run_id, seconds=60)
    await check_books(database, sources, run_id)


async def test_a_worker_keeps_its_own_runs_after_an_outage_that_was_longer_than_a_lease(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    out, go_on, pools = asyncio.Event(), asyncio.Event(), []

    def pool_of(pool: Any) -> CrashingPool:
        pools.append(CrashingPool(pool, 1_000_000, after=False))
        return pools[0]

    async def slow(call: SourceCall) -> Answer:
        out.set()
        await go_on.wait()
        return Answer(finding(SourceName.CONTACTOUT), COST, "request-1")

    sources = Sources(answers={SourceName.CONTACTOUT: slow})
    async with engine(dsn, nats_server.url, sources, pool_of=pool_of) as one:
        run_id = (await one.accept()).run_id
        await out.wait()
        pools[0].dead = True
        await asyncio.sleep(TIMES.lease.total_seconds() + 0.3)
        go_on.set()
        await asyncio.sleep(0.1)  # its turn is tried again in half a second: its lease comes first
        pools[0].revive()
        one.worker.wake()
        await one.calls_ended(run_id)
    assert not await database.fetch("select from enrichment.attempts where status = 'uncertain'")


async def test_an_end_whose_acknowledgement_was_lost_is_told_of_once(
    dsn: str, database: Database, nats_server: servers.Nats, nats: Client
) -> None:
    go_on = asyncio.Event()
    told: list[str] = []

    class Losing(CrashingPool):
        """Loses the acknowledgement of the commit that ends the run."""

        async def commit(self, connection: Any) -> None:
            number = await connection.fetchval("select pg_current_xact_id_if_assigned()::text")
            await connection.execute("commit")
            ended = "select from enrichment.runs where ended_at is not null and xmin::text = $1"
            if not told and await database.fetch(ended, number):
                told.append("lost")
                raise Crashed("the acknowledgement was lost")

    async def slow(call: SourceCall) -> Answer:
        await go_on.wait()
        return Answer(finding(SourceName.CONTACTOUT), COST, "request-1")

    ends: set[str] = set()

    async def count(message: Any) -> None:
        ends.add(message.headers["Nats-Msg-Id"])

    await nats.subscribe("prospect.enrich.completed.*", cb=count)
    sources = Sources(answers={SourceName.CONTACTOUT: slow})
    times = replace(TIMES, deadline=timedelta(seconds=0.5))
    given: dict[str, Any] = {"times": times, "pool_of": lambda pool: Losing(pool, 1, after=True)}
    async with engine(dsn, nats_server.url, sources, working=False) as idle:
        run_id = (await idle.accept()).run_id
        async with engine(dsn, nats_server.url, sources, tenant_id=idle.tenant_id, **given):
            await idle.ended(run_id)
            await asyncio.sleep(1.5)
            go_on.set()
            await idle.calls_ended(run_id)
            await asyncio.sleep(0.7)
    assert told == ["lost"]
    assert len(ends) == 1


async def test_of_two_turns_of_a_run_in_one_group_only_the_newest_leases_is_taken(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        run_id, token = (await one.accept()).run_id, new_id()

        async def leased() -> store.LeasedRun:
            await database.fetch("update enrichment.runs set lease_expires_at = now()")
            async with role_transaction(one.pool, CLAIMER) as connection:
                leases, _ = await store.lease_due(connection, 1, token, TIMES, Policy())
            async with tenant_transaction(one.pool, one.tenant_id) as connection:
                now = utc_now()
                return (await store.load_runs(connection, one.tenant_id, leases, TIMES, now))[0]

        old = await leased()
        begun = (await one.writer.take_turn(old, (), {})).begun
        new = await leased()
        answer = Returned(SourceName.EXA, Answer(finding(SourceName.EXA), COST))
        results = await asyncio.gather(
            one.writer.take_turn(old, [answer], {}),
            one.writer.take_turn(new, [Lost(call.source) for call in begun], {}),
            return_exceptions=True,
        )
        _, steps = await one.run(run_id)
    assert [type(each) for each in results] == [store.LeaseLost, Turn]
    assert steps[SourceName.EXA].status == "failed"


async def test_a_turn_that_is_lost_to_another_transaction_is_taken_again(
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
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


async def test_a_bug_in_a_paid_source_does_not_have_it_paid_again(
    dsn: str, nats_server: servers.Nats
) -> None:
    async def surprise(call: SourceCall) -> Answer:
        raise KeyError("after the answer was paid for")

    sources = Sources(answers={SourceName.CONTACTOUT: surprise})
    async with engine(dsn, nats_server.url, sources) as one:
        row, steps = await one.enriched()
    assert row["status"] == "complete"
    step = steps[SourceName.CONTACTOUT]
    assert (step.status, step.error_class) == ("failed", "invalid_answer")
    assert sources.calls[SourceName.CONTACTOUT] == 1


async def test_a_cancelled_run_breaks_a_free_call_off(dsn: str, nats_server: servers.Nats) -> None:
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
            await connection.fetchval(sql.SQL.request_cancel, one.tenant_id, run_id, utc_now())
        one.worker.cancel_run(run_id)
        row, steps = await one.calls_ended(run_id)
        await asyncio.wait_for(broken_off.wait(), 20)
    assert (row["status"], steps[SourceName.SEC].status) == ("cancelled", "skipped")


async def test_requests_and_turns_under_a_days_budget_never_deadlock(
    dsn: str, database: Database, nats_server: servers.Nats
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
    dsn: str, nats_server: servers.Nats
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
                sql.SQL.request_cancel, one.tenant_id, run_id, utc_now()
            )
        one.worker.wake()
        await one.calls_ended(run_id)
    assert sources.calls[SourceName.EXA] == 1


async def test_a_call_that_is_out_past_the_last_moment_costs_no_turns(
    dsn: str, database: Database, nats_server: servers.Nats
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
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(state: RunState, *values: Any) -> Turn:
        if "email" in state.lookups[SourceName.CONTACTOUT]:
            raise ValueError("a bug")
        return take_turn(state, *values)

    monkeypatch.setattr(turn_writer, "take_turn", buggy)
    sources = Sources()
    async with engine(dsn, nats_server.url, sources) as one:
        people = [BROKEN, *[ADA] * 20]
        accepted = await asyncio.gather(*(one.accept(each) for each in people))
        for each in accepted[1:]:
            row, *_ = await one.ended(each.run_id)
            assert row["status"] == "complete"
    assert sources.calls[SourceName.CONTACTOUT] == 20
