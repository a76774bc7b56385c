"""A prospect that is asked about with other words: nothing of one person is told of another."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from chassis.clock import new_id
from devstack import servers
from services.enrichment.policy.policy import Policy
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import ADA, COST, Sources, engine, finding
from tests.harness import Database

BORIS = replace(ADA, name="Boris Second", company="Other Corp")
KEPT = """
select name, contact_data, web_data, insider_data, ai_summary, answered::text as answered
from enrichment.prospects
"""


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("enrichment_app")


async def test_what_was_found_of_another_person_goes(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources, prospect_id = Sources(), new_id()
    async with engine(dsn, nats_server.url, sources) as one:
        await one.enriched(prospect_id=prospect_id)
        refused = SourceError(ErrorClass.REFUSED_REQUEST, "no")
        sources.answers = dict.fromkeys(SourceName, refused)
        await one.enriched(BORIS, prospect_id=prospect_id)
        (row,) = await database.fetch(KEPT)
        assert row["name"] == "Boris Second"
        assert [row[name] for name in ("contact_data", "web_data", "insider_data")] == [None] * 3
        assert "complete" not in row["answered"]
        sources.answers, before = {}, dict(sources.calls)
        await one.enriched(BORIS, prospect_id=prospect_id)
    assert sources.calls[SourceName.CONTACTOUT] == before[SourceName.CONTACTOUT] + 1


async def test_what_was_found_stays_where_only_the_title_is_another(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources, prospect_id = Sources(), new_id()
    async with engine(dsn, nats_server.url, sources) as one:
        await one.enriched(prospect_id=prospect_id)
        await one.enriched(replace(ADA, title="Countess"), prospect_id=prospect_id)
        (row,) = await database.fetch(KEPT)
    assert row["contact_data"]
    assert sources.calls[SourceName.CONTACTOUT] == 1


async def test_a_run_that_is_held_back_becomes_the_newest_requests(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    sources, prospect_id = Sources(), new_id()
    async with engine(dsn, nats_server.url, sources) as one:
        await one.enriched(prospect_id=prospect_id)
    policy = Policy(debounce_seconds=1)
    async with engine(dsn, nats_server.url, sources, policy=policy, tenant_id=one.tenant_id) as one:
        accepted = await one.accept(prospect_id=prospect_id)
        await one.accept(BORIS, prospect_id=prospect_id, sources=(SourceName.CONTACTOUT,))
        _, steps = await one.ended(accepted.run_id)
    assert [call.person.name for call in sources.asked if call.person != ADA] == [BORIS.name]
    assert steps[SourceName.CONTACTOUT].status == "complete"
    assert steps[SourceName.EXA].status == "skipped"


async def test_a_person_suppressed_while_a_call_is_out_is_not_kept(
    dsn: str, database: Database, nats_server: servers.Nats
) -> None:
    out, go_on = asyncio.Event(), asyncio.Event()

    async def slow(call: SourceCall) -> Answer:
        out.set()
        await go_on.wait()
        return Answer(finding(SourceName.EXA), COST, "request-1")

    person = replace(ADA, email="ada@engines.example")
    sources = Sources(answers={SourceName.EXA: slow})
    async with engine(dsn, nats_server.url, sources) as one:
        accepted = await one.accept(person)
        await out.wait()
        key = one.hasher.of_person(one.tenant_id, person)[0]
        await database.fetch(
            "insert into enrichment.suppressions (tenant_id, kind, digest) values ($1, $2, $3)",
            one.tenant_id,
            key.kind,
            key.keyed_hash,
        )
        go_on.set()
        _, steps = await one.ended(accepted.run_id)
        (row,) = await database.fetch(KEPT)
    assert steps[SourceName.EXA].status == "suppressed"
    assert row["web_data"] is None
