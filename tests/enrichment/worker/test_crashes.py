"""A worker that dies at any line: the next takes over, and nothing is done or paid for twice."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client

from devstack import servers
from services.enrichment.policy.policy import Policy
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import SOURCES, SourceName
from tests.enrichment.crashing import CrashingPool
from tests.enrichment.engine import COST, TIMES, Sources, engine, finding
from tests.harness import Database

SHORT = replace(TIMES, lease=timedelta(seconds=0.6))
COMMITS = 9
"""More than a run takes, so that the last ones are runs without a crash."""


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("enrichment_app")


class News(Counter[str]):
    """How many events of the runs were told, by their kind."""

    async def of_ends(self) -> int:
        """Return how many ends were told, once one was."""
        async with asyncio.timeout(30):
            while not (ends := self["completed"] + self["failed"]):
                await asyncio.sleep(0.01)
        return ends


@pytest.fixture
async def news(nats: Client) -> News:
    """Count the events of the runs."""
    told = News()
    seen: set[str] = set()

    async def count(message: Any) -> None:
        if message.headers["Nats-Msg-Id"] not in seen:
            seen.add(message.headers["Nats-Msg-Id"])
            told[message.subject.split(".")[2]] += 1

    await nats.subscribe("prospect.enrich.*.*", cb=count)
    return told


async def crash_of(sources: Sources, dsn: str, url: str, pool_of: Any) -> uuid.UUID:
    """Take a request in and work on it with a worker that dies; return the run."""
    async with engine(dsn, url, sources, times=SHORT, working=False) as living:
        accepted = await living.accept()
        async with engine(
            dsn, url, sources, times=SHORT, tenant_id=living.tenant_id, pool_of=pool_of
        ) as dying:
            async with asyncio.timeout(30):
                while not dying.is_dead() and (await living.run(accepted.run_id))[0]["open"]:
                    await asyncio.sleep(0.01)
    return accepted.run_id


def dying_in(sources: Sources, source: SourceName, *, left: bool = True) -> Any:
    """Have the worker die as it calls a source; return what makes its pool."""
    pools: list[CrashingPool] = []

    def pool_of(pool: Any) -> CrashingPool:
        pools.append(CrashingPool(pool, 1_000, after=False))
        return pools[0]

    async def die(call: SourceCall) -> Answer:
        if not pools or pools[0].dead:
            return Answer(finding(source), COST)
        pools[0].dead = True
        if not left:
            sources.calls[source] -= 1
        await asyncio.sleep(60)
        raise AssertionError

    sources.answers[source] = die
    return pool_of


async def taken_over(dsn: str, url: str, sources: Sources, run_id: uuid.UUID, **values: Any) -> Any:
    """Let a living worker end the run, and its relay publish what there is to tell."""
    async with engine(dsn, url, sources, times=SHORT, **values) as living:
        async with asyncio.timeout(30):
            while not await _is_over(dsn, run_id):
                await asyncio.sleep(0.02)
        return living


async def _is_over(dsn: str, run_id: uuid.UUID) -> bool:
    connection = await asyncpg.connect(dsn.replace("enrichment_app", "postgres"))
    try:
        sql = "select not open and not exists (select from enrichment.outbox)"
        return bool(
            await connection.fetchval(f"{sql} from enrichment.runs where run_id = $1", run_id)
        )
    finally:
        await connection.close()


async def check_books(database: Database, sources: Sources, run_id: uuid.UUID) -> None:
    """Hold the attempts and the ledger against what the sources have counted."""
    attempts = await database.fetch(
        "select source, status, reserved_micros, cost_micros from enrichment.attempts"
        " where run_id = $1",
        run_id,
    )
    for source in SourceName:
        mine = [each for each in attempts if each["source"] == source.value]
        ended = [each for each in mine if each["status"] != "uncertain"]
        uncertain = len(mine) - len(ended)
        # A call that never left is counted as uncertain as well: nobody can know.
        assert len(ended) <= sources.calls[source] <= len(ended) + uncertain
        assert len([each for each in mine if each["status"] == "complete"]) <= 1
    ledger = await database.fetch(
        "select kind, sum(amount_micros) as amount from enrichment.ledger where run_id = $1"
        " group by kind",
        run_id,
    )
    moved = {each["kind"]: int(each["amount"]) for each in ledger}
    committed = moved.get("reserve", 0) - moved.get("refund", 0)
    spent = await database.fetch(
        "select sum(cost_micros)::bigint as cost from enrichment.steps where run_id = $1", run_id
    )
    lost = sum(each["reserved_micros"] for each in attempts if each["status"] == "uncertain")
    assert spent[0]["cost"] == committed
    assert committed == moved.get("settle", 0) + lost


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, COMMITS + 1))
async def test_a_run_whose_worker_dies_at_a_commit_is_ended_by_the_next(
    dsn: str,
    database: Database,
    nats_server: servers.Nats,
    news: News,
    at: int,
    after: bool,
) -> None:
    sources = Sources()
    run_id = await crash_of(
        sources, dsn, nats_server.url, lambda pool: CrashingPool(pool, at, after=after)
    )
    await taken_over(dsn, nats_server.url, sources, run_id)
    (run,) = await database.fetch("select * from enrichment.runs where run_id = $1", run_id)
    assert run["ended_at"]
    assert all(sources.calls[source] <= 1 for source in SourceName if SOURCES[source].is_paid)
    await check_books(database, sources, run_id)
    assert await news.of_ends() == 1


@pytest.mark.parametrize("left", [False, True], ids=["before-it-left", "after-it-left"])
@pytest.mark.parametrize("ask_again", [False, True], ids=["", "asked-again"])
@pytest.mark.parametrize("source", list(SourceName))
async def test_a_call_whose_worker_dies_is_uncertain_and_a_paid_one_not_made_again_unasked(
    dsn: str,
    database: Database,
    nats_server: servers.Nats,
    source: SourceName,
    left: bool,
    ask_again: bool,
) -> None:
    sources = Sources()
    pool_of = dying_in(sources, source, left=left)
    run_id = await crash_of(sources, dsn, nats_server.url, pool_of)
    policy = Policy(ask_paid_again=ask_again)
    await taken_over(dsn, nats_server.url, sources, run_id, policy=policy)
    (step,) = await database.fetch(
        "select * from enrichment.steps where run_id = $1 and source = $2", run_id, source.value
    )
    asked_again = ask_again or not SOURCES[source].is_paid
    assert step["uncertain_attempts"] == 1
    assert step["status"] == ("complete" if asked_again else "failed")
    assert sources.calls[source] == left + asked_again
    await check_books(database, sources, run_id)


async def test_a_lost_call_counts_into_the_runs_budget(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources = Sources()
    pool_of = dying_in(sources, SourceName.CONTACTOUT)
    run_id = await crash_of(sources, dsn, nats_server.url, pool_of)
    limit = SOURCES[SourceName.CONTACTOUT].max_cost_micros + 100_000
    policy = Policy(ask_paid_again=True, run_budget_micros=limit)
    await taken_over(dsn, nats_server.url, sources, run_id, policy=policy)
    (run,) = await database.fetch(
        "select sum(cost_micros)::bigint as cost, max(status) filter (where source = 'contactout')"
        " as status from enrichment.steps where run_id = $1",
        run_id,
    )
    assert run["cost"] <= limit
    assert (run["status"], sources.calls[SourceName.CONTACTOUT]) == ("budget_denied", 1)


async def test_a_worker_that_comes_back_late_changes_nothing(
    dsn: str, database: Database, nats_server: servers.Nats, news: News
) -> None:
    """Its event loop hangs for longer than its lease, while a call is out."""
    sources, slow = Sources(), asyncio.Event()

    async def answer_late(call: SourceCall) -> Answer:
        if sources.calls[SourceName.SEC] == 1:
            await slow.wait()
        return Answer(finding(SourceName.SEC))

    sources.answers[SourceName.SEC] = answer_late
    async with engine(dsn, nats_server.url, sources, times=SHORT) as stuck:
        accepted = await stuck.accept()
        async with asyncio.timeout(30):
            while not sources.calls[SourceName.SEC]:
                await asyncio.sleep(0.01)
        # As after a long pause: somebody else has leased the run since.
        await database.fetch(
            "update enrichment.runs set lease_token = gen_random_uuid(),"
            " lease_epoch = lease_epoch + 1, lease_expires_at = 'infinity' where run_id = $1",
            accepted.run_id,
        )
        before = await database.fetch("select * from enrichment.steps order by source")
        slow.set()
        await asyncio.sleep(0.3)
        assert await database.fetch("select * from enrichment.steps order by source") == before
        await database.fetch("update enrichment.runs set lease_expires_at = now()")
        row, _ = await stuck.calls_ended(accepted.run_id)
    assert row["status"] == "complete"
    assert await news.of_ends() == news["completed"] == 1
    await check_books(database, sources, accepted.run_id)


async def test_two_workers_drive_a_run_once(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources = Sources()
    async with (
        engine(dsn, nats_server.url, sources) as one,
        engine(dsn, nats_server.url, sources, tenant_id=one.tenant_id),
    ):
        runs = [await one.accept() for _ in range(40)]
        for accepted in runs:
            row, _ = await one.ended(accepted.run_id)
            assert row["status"] == "complete"
    assert sources.calls == dict.fromkeys(SourceName, 40)


async def test_a_stopping_worker_hands_its_runs_back_at_once(
    dsn: str, nats_server: servers.Nats
) -> None:
    sources, out = Sources(), asyncio.Event()

    async def answer_soon(call: SourceCall) -> Answer:
        out.set()
        await asyncio.sleep(0.3)
        return Answer(finding(SourceName.SEC))

    sources.answers[SourceName.SEC] = answer_soon
    tenant_id = uuid.uuid4()
    long = replace(TIMES, lease=timedelta(seconds=60))
    async with engine(dsn, nats_server.url, sources, times=long, tenant_id=tenant_id) as one:
        accepted = await one.accept()
        await out.wait()
    async with engine(dsn, nats_server.url, sources, times=long, tenant_id=tenant_id) as two:
        row, _ = await two.ended(accepted.run_id)
    assert row["status"] == "complete"
    assert sources.calls == dict.fromkeys(SourceName, 1)
