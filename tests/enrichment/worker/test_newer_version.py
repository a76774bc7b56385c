"""Rows that a newer version wrote, or an older one, while both run side by side in a roll-out."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import policy_pb2, prospect_pb2, runs_pb2

from chassis.clock import utc_now
from devstack import servers
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import Engine, Sources, engine
from tests.enrichment.rows import Rows
from tests.harness import Database, Identity

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

NEWER = "source_of_a_newer_version"
NEWER_STATUS = "postponed"


@pytest.fixture
async def upgraded(database: Database) -> Database:
    """The database after a newer version's migration: another source, another status."""
    for constraint in ("steps_source", "steps_status"):
        await database.fetch(f"alter table enrichment.steps drop constraint {constraint}")
    await database.fetch("alter table enrichment.runs drop constraint if exists runs_status")
    await database.fetch("insert into enrichment.sources (source) values ($1)", NEWER)
    return database


async def add_step(database: Database, run_id: uuid.UUID, source: str, status: str) -> None:
    await database.fetch(
        "insert into enrichment.steps (tenant_id, run_id, source, status)"
        " select tenant_id, run_id, $2, $3 from enrichment.runs where run_id = $1"
        " on conflict (tenant_id, run_id, source) do update set status = excluded.status",
        *(run_id, source, status),
    )


async def as_stored(database: Database, run_id: uuid.UUID) -> tuple[Any, ...]:
    """Return all of a run that its worker may change, without its lease."""
    runs = await database.fetch(
        "select status, version, missing, ended_at from enrichment.runs where run_id = $1", run_id
    )
    steps = await database.fetch(
        "select * from enrichment.steps where run_id = $1 order by source", run_id
    )
    return [tuple(run) for run in runs], [tuple(step) for step in steps]


@pytest.mark.parametrize(
    ("source", "status"), [(NEWER, "pending"), ("exa", NEWER_STATUS), (NEWER, NEWER_STATUS)]
)
async def test_a_run_of_a_newer_version_is_handed_back_as_it_is(
    upgraded: Database, nats_server: servers.Nats, source: str, status: str
) -> None:
    sources, dsn = Sources(), upgraded.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, sources, working=False) as one:
        newer = (await one.accept()).run_id
        await add_step(upgraded, newer, source, status)
        before = await as_stored(upgraded, newer)
        async with engine(dsn, nats_server.url, sources, tenant_id=one.tenant_id) as two:
            await _handed_back(upgraded, newer)
            await two.enriched()  # its own goes on
            assert await as_stored(upgraded, newer) == before
    (row,) = await upgraded.fetch("select * from enrichment.runs where run_id = $1", newer)
    assert (row["lease_token"], row["open"]) == (None, True)
    assert sources.calls[SourceName.EXA] == 1


async def _handed_back(database: Database, run_id: uuid.UUID) -> None:
    """Wait until a worker has had the run, and has no lease of it."""
    async with asyncio.timeout(20):
        while True:
            (row,) = await database.fetch("select * from enrichment.runs where run_id = $1", run_id)
            if row["lease_epoch"] and row["lease_token"] is None:
                assert row["wake_at"] > row["created_at"]
                return
            await asyncio.sleep(0.01)


async def test_a_run_of_an_older_version_ends_without_the_step_of_a_new_source(
    database: Database, nats_server: servers.Nats
) -> None:
    sources, dsn = Sources(), database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, sources, working=False) as one:
        older = (await one.accept()).run_id
        await database.fetch("delete from enrichment.steps where source = 'exa'")
        async with engine(dsn, nats_server.url, sources, tenant_id=one.tenant_id) as two:
            run, steps = await two.ended(older)
    assert (run["status"], list(run["missing"]), set(steps)) == (
        "complete",
        [],
        set(SourceName) - {SourceName.EXA},
    )
    assert sources.calls[SourceName.EXA] == 0


async def test_answers_of_a_newer_version_are_kept_and_the_others_stand(
    database: Database, nats_server: servers.Nats
) -> None:
    sources, dsn = Sources(), database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, sources) as one:
        await one.enriched(prospect_id=(prospect_id := uuid.uuid4()))
        # First in the object: what follows it must be read all the same.
        newer = {NEWER: {"status": "complete", "at": utc_now().isoformat()}}
        await database.fetch(
            "update enrichment.prospects set answered = $1::jsonb || answered", json.dumps(newer)
        )
        _, steps = await one.enriched(prospect_id=prospect_id)
        assert steps[SourceName.EXA].reused
    assert sources.calls[SourceName.EXA] == 1
    (row,) = await database.fetch("select answered ? $1 as kept from enrichment.prospects", NEWER)
    assert row["kept"]


async def test_a_newer_versions_source_does_not_hide_the_state_of_the_others(
    upgraded: Database, replicas: tuple[Engine, Engine]
) -> None:
    one, two = replicas
    await one.breakers.pause(SourceName.EXA, paused=True, until=None, reason="the bill")
    await two.breakers.refresh()
    assert two.breakers.denial(SourceName.EXA)


async def test_a_policy_keeps_what_a_newer_version_allows(
    upgraded: Database, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    request = policy_pb2.UpdatePolicyRequest(policy=policy_pb2.Policy(weight=7))
    request.update_mask.paths.append("weight")
    await enrichment.UpdatePolicy(request, metadata=ours.metadata())
    row = {"is_enabled": True, "fresh_for_seconds": 0, "day_budget_micros": 9}
    await upgraded.fetch("update enrichment.policies set sources = $1", json.dumps({NEWER: row}))
    request.policy.sources.add(source="exa")
    request.update_mask.paths.append("sources")
    answer = await enrichment.UpdatePolicy(request, metadata=ours.metadata())
    assert [each.source for each in answer.policy.sources] == list(SourceName)
    (stored,) = await upgraded.fetch("select sources from enrichment.policies")
    assert set(json.loads(stored["sources"])) == {NEWER, "exa"}


async def test_readers_see_a_newer_versions_step_by_its_name(
    upgraded: Database, rows: Rows, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    run_id = await rows.run(steps={"exa": "complete", NEWER: "complete", "sec": NEWER_STATUS})
    unknown = prospect_pb2.SOURCE_STATUS_UNSPECIFIED
    complete = prospect_pb2.SOURCE_STATUS_COMPLETE
    wanted = {"exa": complete, NEWER: complete, "sec": unknown}
    metadata = ours.metadata()
    run = await enrichment.GetRun(runs_pb2.GetRunRequest(run_id=str(run_id)), metadata=metadata)
    assert {step.source: step.status for step in run.run.steps} == wanted
    (listed,) = (await enrichment.ListRuns(runs_pb2.ListRunsRequest(), metadata=metadata)).runs
    assert list(listed.steps) == list(run.run.steps)
    get = pb.GetProspectRequest(prospect_id=run.run.prospect_id)
    prospect = (await enrichment.GetProspect(get, metadata=metadata)).prospect
    assert list(prospect.enrichment_source_status) == list(run.run.steps)
    prospects = await enrichment.ListProspects(pb.ListProspectsRequest(), metadata=metadata)
    assert list(prospects.prospects[0].enrichment_source_status) == list(run.run.steps)
