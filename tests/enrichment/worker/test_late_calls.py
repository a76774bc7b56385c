"""A paid call that is out when its run has ended: a new run of the person does not repeat it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chassis.clock import new_id
from devstack import servers
from services.enrichment.policy.policy import Policy
from services.enrichment.run.state import StepStatus
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName as Name
from services.enrichment.sources.findings import Person
from services.enrichment.worker.store import Times
from tests.enrichment.engine import ADA, COST, TIMES, Engine, Sources, engine, finding
from tests.harness import Database

SHORT = replace(TIMES, deadline=timedelta(seconds=0.8))
BORIS = replace(ADA, name="Boris Second", company="Other Corp")
KEPT = "select name, contact_data, answered from enrichment.prospects"


@dataclass
class Late:
    """ContactOut, whose first call waits until it is let go."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    first: Answer | SourceError = field(
        default_factory=lambda: Answer(finding(Name.CONTACTOUT), COST, "late")
    )
    calls: int = 0

    async def __call__(self, call: SourceCall) -> Answer:
        self.calls += 1
        if self.calls > 1:
            return Answer(finding(Name.CONTACTOUT), COST, f"call-{self.calls}")
        await self.go_on.wait()
        if isinstance(self.first, SourceError):
            raise self.first
        return self.first


@dataclass
class Scene:
    """A prospect whose run has ended while ContactOut's call is out."""

    engine: Engine
    late: Late
    prospect_id: UUID
    run_id: UUID


@asynccontextmanager
async def ended_with_a_call_out(
    database: Database,
    nats: servers.Nats,
    late: Late,
    policy: Policy | None = None,
    person: Person = ADA,
    times: Times = SHORT,
) -> AsyncIterator[Scene]:
    """Let a run end by its deadline; the call is let go at the end of the test, at the latest."""
    sources = Sources(answers={Name.CONTACTOUT: late})
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats.url, sources, times=times, policy=policy) as one:
        prospect_id = new_id()
        run, _ = await one.enriched(person, prospect_id=prospect_id)
        yield Scene(one, late, prospect_id, run["run_id"])
        late.go_on.set()


async def follow(scene: Scene, **values: Any) -> UUID:
    """Request anew, and wait until the new run waits for the call."""
    accepted = await scene.engine.accept(prospect_id=scene.prospect_id, **values)
    assert not accepted.joined
    _, steps = await scene.engine.until(accepted.run_id, lambda row: row["status"] != "pending")
    assert steps[Name.CONTACTOUT].status is StepStatus.PARKED
    return accepted.run_id


@pytest.mark.parametrize("values", [{}, {"force": True}, {"sources": (Name.CONTACTOUT,)}])
async def test_a_new_run_takes_over_what_the_call_brings(
    database: Database, nats_server: servers.Nats, values: dict[str, Any]
) -> None:
    async with ended_with_a_call_out(database, nats_server, Late()) as scene:
        run_id = await follow(scene, **values)
        scene.late.go_on.set()
        _, steps = await scene.engine.calls_ended(run_id)
    step = steps[Name.CONTACTOUT]
    assert (step.status, step.reused, step.attempts) == ("complete", True, 0)
    assert scene.late.calls == 1
    (row,) = await database.fetch(KEPT)
    assert row["contact_data"]


async def test_a_new_run_asks_where_the_call_fails(
    database: Database, nats_server: servers.Nats
) -> None:
    late = Late(first=SourceError(ErrorClass.AUTH, "no"))
    async with ended_with_a_call_out(database, nats_server, late) as scene:
        run_id = await follow(scene)
        late.go_on.set()
        _, steps = await scene.engine.calls_ended(run_id)
    assert (steps[Name.CONTACTOUT].status, steps[Name.CONTACTOUT].attempts) == ("complete", 1)
    assert late.calls == 2


@pytest.mark.parametrize(("ask_again", "calls"), [(False, 1), (True, 2)])
async def test_policy_decides_for_a_new_run_where_the_calls_reply_was_lost(
    database: Database, nats_server: servers.Nats, ask_again: bool, calls: int
) -> None:
    lost = SourceError(ErrorClass.TRANSIENT, "took too long", uncertain=True)
    policy, late = Policy(ask_paid_again=ask_again), Late(first=lost)
    async with ended_with_a_call_out(database, nats_server, late, policy) as scene:
        run_id = await follow(scene)
        late.go_on.set()
        _, steps = await scene.engine.calls_ended(run_id)
    assert steps[Name.CONTACTOUT].status == ("complete" if ask_again else "failed")
    assert late.calls == calls


async def test_what_a_call_about_other_words_brings_is_paid_and_not_kept(
    database: Database, nats_server: servers.Nats
) -> None:
    async with ended_with_a_call_out(database, nats_server, Late()) as scene:
        accepted = await scene.engine.accept(BORIS, prospect_id=scene.prospect_id)
        await scene.engine.ended(accepted.run_id)
        (before,) = await database.fetch(KEPT)
        scene.late.go_on.set()
        old, steps = await scene.engine.calls_ended(scene.run_id)
    (row,) = await database.fetch(KEPT)
    assert row == before
    assert (steps[Name.CONTACTOUT].status, old["amended_at"]) == ("skipped", None)
    assert steps[Name.CONTACTOUT].cost_micros == COST
    assert scene.late.calls == 2


async def test_an_older_run_begins_no_call_once_there_is_a_newer_one(
    database: Database, nats_server: servers.Nats
) -> None:
    late = Late(first=Answer(None))
    person = replace(ADA, email="ada@engines.example")
    async with ended_with_a_call_out(database, nats_server, late, person=person) as scene:
        accepted = await scene.engine.accept(person, prospect_id=scene.prospect_id)
        # Neither of the ways in which a worker hears of it: it has to look.
        late.go_on.set()
        _, old = await scene.engine.calls_ended(scene.run_id)
        _, new = await scene.engine.calls_ended(accepted.run_id)
    assert (old[Name.CONTACTOUT].attempts, old[Name.CONTACTOUT].status) == (1, "skipped")
    assert new[Name.CONTACTOUT].status == "complete"


async def test_an_answer_that_is_written_after_the_new_run_was_made_is_taken_over_however_old(
    database: Database, nats_server: servers.Nats
) -> None:
    policy = Policy(day_budget_micros=10**9)
    async with ended_with_a_call_out(database, nats_server, Late(), policy) as scene:
        admin = await asyncpg.connect(database.dsn())
        async with admin.transaction():
            await admin.fetch("select from enrichment.spending where source = 'all' for update")
            scene.late.go_on.set()
            await somebody_waits_for_a_lock(database)
            accepted = await scene.engine.accept(prospect_id=scene.prospect_id)
        await admin.close()
        _, steps = await scene.engine.calls_ended(accepted.run_id)
    assert (steps[Name.CONTACTOUT].status, steps[Name.CONTACTOUT].reused) == ("complete", True)
    assert scene.late.calls == 1


async def test_a_new_run_waits_for_the_late_sources_of_the_one_before_too(
    database: Database, nats_server: servers.Nats
) -> None:
    later = SourceError(ErrorClass.THROTTLED, "come back later", retry_after=1)
    sources = Sources(answers={Name.CONTACTOUT: later})
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, sources, times=SHORT) as one:
        prospect_id = new_id()
        old, _ = await one.enriched(prospect_id=prospect_id)
        assert old["open"]
        sources.answers = {}
        accepted = await one.accept(prospect_id=prospect_id, sources=(Name.EXA,))
        _, steps = await one.calls_ended(accepted.run_id)
    assert steps[Name.CONTACTOUT].status == "complete"
    assert steps[Name.SEC].reused
    (row,) = await database.fetch(KEPT)
    assert row["contact_data"]


async def test_a_run_that_never_closes_keeps_its_prospects_source_from_nobody(
    database: Database, nats_server: servers.Nats
) -> None:
    times = replace(SHORT, late=timedelta(seconds=0.4))
    late = Late()
    async with ended_with_a_call_out(database, nats_server, late, times=times) as scene:
        await database.fetch(
            "update enrichment.runs set lease_token = gen_random_uuid(),"
            " lease_expires_at = now() + interval '1 hour'"
        )
        await asyncio.sleep(1)
        accepted = await scene.engine.accept(prospect_id=scene.prospect_id)
        _, steps = await scene.engine.calls_ended(accepted.run_id)
    assert (steps[Name.CONTACTOUT].status, late.calls) == ("complete", 2)


async def somebody_waits_for_a_lock(database: Database) -> None:
    """Wait until a transaction is held up."""
    waits = "select from pg_stat_activity where wait_event_type = 'Lock'"
    async with asyncio.timeout(30):
        while not await database.fetch(waits + " and datname = current_database()"):
            await asyncio.sleep(0.01)
