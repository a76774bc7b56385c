"""Who goes first: fair queueing of tenants, priorities within one, caps, joining and debounce."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from chassis.clock import new_id
from chassis.database import role_transaction
from devstack import servers
from services.enrichment.policy.policy import Highest, Policy
from services.enrichment.run.plan import Accepted, Priority
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker import store
from services.enrichment.worker.loop import CLAIMER
from tests.enrichment.engine import ADA, TIMES, Sources, engine, finding
from tests.harness import Database


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("enrichment_app")


async def order_of_ends(database: Database) -> list[uuid.UUID]:
    """Return the runs in the order in which they were begun."""
    rows = await database.fetch("select run_id from enrichment.runs order by began_at, line_at")
    return [row["run_id"] for row in rows]


async def all_ended(database: Database) -> None:
    async with asyncio.timeout(60):
        sql = "select count(*) as n from enrichment.runs where ended_at is null"
        while (await database.fetch(sql))[0]["n"]:
            await asyncio.sleep(0.05)


async def test_a_tenant_that_asks_for_much_does_not_delay_one_that_asks_for_one(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    small = uuid.uuid4()
    async with engine(dsn, nats_server.url, Sources(), most_runs=4) as one:
        much = [one.request() for _ in range(2_000)]
        batch_id = uuid.uuid4()
        for start in range(0, len(much), 500):
            chunk = dict(enumerate(much[start : start + 500], start))
            await one.intake.accept_batch(batch_id, chunk)
        mine = await one.accept(tenant_id=small)
        async with asyncio.timeout(60):
            while (await one.run(mine.run_id, small))[0]["ended_at"] is None:
                await asyncio.sleep(0.005)
        sql = "select count(*) as n from enrichment.runs where ended_at is not null"
        ended = (await database.fetch(sql))[0]["n"]
    # Two hundred had their turn before it at most: far from all that came first.
    assert ended < len(much) / 2


async def test_tenants_take_turns_by_their_weight(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    light, heavy = uuid.uuid4(), uuid.uuid4()
    await database.fetch(
        "insert into enrichment.policies (tenant_id, weight) values ($1, 1), ($2, 3)", light, heavy
    )
    async with engine(dsn, nats_server.url, Sources(), most_runs=1, working=False) as one:
        for _ in range(40):
            await one.accept(tenant_id=light)
            await one.accept(tenant_id=heavy)
    async with engine(dsn, nats_server.url, Sources(), most_runs=1):
        await all_ended(database)
    rows = await database.fetch("select tenant_id from enrichment.runs order by began_at limit 40")
    first = [row["tenant_id"] for row in rows]
    assert 28 <= first.count(heavy) <= 32


async def test_what_a_tenant_stored_counts_as_far_as_the_operator_allows_now(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    light, heavy = uuid.uuid4(), uuid.uuid4()
    await database.fetch(
        "insert into enrichment.policies (tenant_id, weight, most_runs_at_once)"
        " values ($1, 1, 50), ($2, 100, 50)",
        light,
        heavy,
    )
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        for tenant_id in [light, heavy] * 4:
            await one.accept(tenant_id=tenant_id)
        default = Policy(highest=Highest(most_runs_at_once=3, weight=1))
        async with role_transaction(one.pool, CLAIMER) as connection:
            leases, _ = await store.lease_due(connection, 50, new_id(), TIMES, default)
    turns = [lease.tenant_id for lease in leases]
    assert Counter(turns) == {light: 3, heavy: 3}
    assert [set(turns[at : at + 2]) for at in (0, 2, 4)] == [{light, heavy}] * 3


async def test_a_tenant_gains_nothing_over_others_by_calling_all_urgent(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    calm, loud = uuid.uuid4(), uuid.uuid4()
    async with engine(dsn, nats_server.url, Sources(), most_runs=1, working=False) as one:
        for _ in range(30):
            await one.accept(tenant_id=loud, priority=Priority.HIGH)
            await one.accept(tenant_id=calm, priority=Priority.LOW)
    async with engine(dsn, nats_server.url, Sources(), most_runs=1):
        await all_ended(database)
    rows = await database.fetch("select tenant_id from enrichment.runs order by began_at limit 30")
    assert 13 <= [row["tenant_id"] for row in rows].count(loud) <= 17


async def test_an_urgent_request_overtakes_its_tenants_own_batch(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    async with engine(dsn, nats_server.url, Sources(), most_runs=1, working=False) as one:
        for _ in range(50):
            await one.accept(priority=Priority.LOW)
        urgent = await one.accept(priority=Priority.HIGH)
    async with engine(dsn, nats_server.url, Sources(), most_runs=1):
        await all_ended(database)
    assert (await order_of_ends(database)).index(urgent.run_id) <= 1


async def test_a_tenant_has_no_more_runs_in_hand_than_its_policy_says(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources, at_once, most = Sources(), 0, 0

    async def count(call: SourceCall) -> Answer:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return Answer(finding(SourceName.EXA))

    sources.answers[SourceName.EXA] = count
    tenant_id = uuid.uuid4()
    await database.fetch(
        "insert into enrichment.policies (tenant_id, most_runs_at_once) values ($1, 3)", tenant_id
    )
    async with (
        engine(dsn, nats_server.url, sources, tenant_id=tenant_id) as one,
        engine(dsn, nats_server.url, sources, tenant_id=tenant_id),
    ):
        for _ in range(30):
            await one.accept()
        await all_ended(database)
    assert most == 3


async def test_a_request_for_a_prospect_in_flight_joins_its_run(
    dsn: str, nats_server: servers.Nats
) -> None:
    prospect_id = new_id()
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        requests = [one.intake.accept(one.request(prospect_id=prospect_id)) for _ in range(20)]
        accepted = await asyncio.gather(*requests)
    assert len({each.run_id for each in accepted}) == 1
    assert [each.joined for each in accepted].count(False) == 1


async def test_a_request_id_finds_the_run_that_it_joined_even_after_its_end(
    dsn: str, nats_server: servers.Nats
) -> None:
    prospect_id, request_id = new_id(), uuid.uuid4()
    async with engine(dsn, nats_server.url, Sources(), working=False, most_runs=1) as one:
        first = await one.accept(prospect_id=prospect_id)
        joined = await one.accept(prospect_id=prospect_id, request_id=request_id)
        async with engine(dsn, nats_server.url, Sources(), tenant_id=one.tenant_id):
            await one.ended(first.run_id)
        again = await one.accept(prospect_id=prospect_id, request_id=request_id)
    assert joined.run_id == again.run_id == first.run_id


async def test_the_same_request_id_at_once_makes_one_run(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    request_id = uuid.uuid4()
    async with (
        engine(dsn, nats_server.url, Sources(), working=False) as one,
        engine(dsn, nats_server.url, Sources(), working=False, tenant_id=one.tenant_id) as two,
    ):
        accepted = await asyncio.gather(
            *(each.accept(request_id=request_id, is_new=True) for each in (one, two) * 10)
        )
    assert len({each.run_id for each in accepted}) == 1
    assert len(await database.fetch("select from enrichment.prospects")) == 1


async def test_debounce_holds_a_run_back_and_takes_the_newest_words(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources, prospect_id = Sources(), new_id()
    policy = Policy(debounce_seconds=2)
    async with engine(dsn, nats_server.url, sources, policy=policy) as one:
        accepted = await one.accept(prospect_id=prospect_id)
        for title in ("Analyst", "Chief Analyst"):
            await one.accept(replace(ADA, title=title), prospect_id=prospect_id)
        assert (await one.run(accepted.run_id))[0]["status"] == "pending"
        await one.ended(accepted.run_id)
    assert {call.person.title for call in sources.asked} == {"Chief Analyst"}
    assert sources.calls == dict.fromkeys(SourceName, 1)


async def test_a_batch_sent_again_is_accepted_once(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    batch_id = uuid.uuid4()
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        chunk = {place: one.request() for place in range(5)}
        first = await one.intake.accept_batch(batch_id, chunk)
        again = await one.intake.accept_batch(batch_id, chunk)
    runs = {each.run_id for each in first.values() if isinstance(each, Accepted)}
    assert runs == {each.run_id for each in again.values() if isinstance(each, Accepted)}
    assert len(await database.fetch("select from enrichment.runs")) == 5


async def test_a_run_whose_hint_was_lost_is_found_by_the_worker_itself(
    dsn: str, nats_server: servers.Nats
) -> None:
    async with engine(dsn, nats_server.url, Sources()) as one:
        await asyncio.sleep(0.2)
        async with engine(
            dsn, nats_server.url, Sources(), working=False, tenant_id=one.tenant_id
        ) as elsewhere:
            accepted = await elsewhere.accept()  # nobody tells the worker
            row, _ = await one.ended(accepted.run_id)
    assert row["status"] == "complete"


async def test_an_idle_worker_looks_once_a_second(
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    often = asyncio.Event()

    async def note(*_: object) -> tuple[list[store.Lease], bool]:
        looked.append(time.monotonic())
        if len(looked) == 3:
            often.set()
        return [], False

    monkeypatch.setattr(store, "lease_due", note)
    async with engine(dsn, nats_server.url, Sources()):
        await often.wait()
    assert all(later - earlier > 0.95 for earlier, later in pairwise(looked))


def lease_nothing(monkeypatch: pytest.MonkeyPatch, *, others_wait: bool) -> asyncio.Event:
    """Let workers find nothing; return what is set when one has looked."""
    looked = asyncio.Event()

    async def lease_due(*_: object) -> tuple[list[store.Lease], bool]:
        looked.set()
        return [], others_wait

    monkeypatch.setattr(store, "lease_due", lease_due)
    return looked


async def test_a_run_begins_as_it_is_taken_in_where_a_worker_is_free_and_nobody_waits(
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = lease_nothing(monkeypatch, others_wait=False)
    async with engine(dsn, nats_server.url, Sources()) as running:
        await looked.wait()
        row, _ = await running.enriched()
    assert row["status"] == "complete"


async def test_a_run_waits_for_its_turn_where_others_wait(
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = lease_nothing(monkeypatch, others_wait=True)
    async with engine(dsn, nats_server.url, Sources()) as running:
        await looked.wait()
        accepted = await running.accept()
        await asyncio.sleep(0.3)
        row, _ = await running.run(accepted.run_id)
    assert row["status"] == "pending"


async def test_a_run_waits_where_one_of_its_tenant_has_come_since_the_worker_looked(
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, ours = lease_nothing(monkeypatch, others_wait=False), uuid.uuid4()
    async with (
        engine(dsn, nats_server.url, Sources(), working=False, tenant_id=ours) as busy,
        engine(dsn, nats_server.url, Sources(), tenant_id=ours) as free,
    ):
        await looked.wait()
        run_ids = [(await each.accept()).run_id for each in (busy, free)]
        rows = [(await free.run(run_id))[0] for run_id in run_ids]
    assert [row["status"] for row in rows] == ["pending", "pending"]


async def test_a_run_that_begins_at_once_stays_within_its_tenants_cap(
    dsn: str, nats_server: servers.Nats
) -> None:
    held, sources = asyncio.Event(), Sources()

    async def hold(call: SourceCall) -> Answer:
        await held.wait()
        return Answer(finding(SourceName.EXA), 0)

    sources.answers[SourceName.EXA] = hold
    policy = Policy(most_runs_at_once=2)
    async with engine(dsn, nats_server.url, sources, policy=policy) as running:
        run_ids = [(await running.accept()).run_id for _ in range(4)]
        await asyncio.sleep(0.3)
        statuses = [(await running.run(run_id))[0]["status"] for run_id in run_ids]
        assert sorted(statuses) == ["in_progress"] * 2 + ["pending"] * 2
        held.set()
        for run_id in run_ids:
            await running.ended(run_id)
