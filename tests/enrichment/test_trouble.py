"""Trouble with one run, or with one look for runs, stops nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from chassis import embedded
from services.enrichment import store, writer
from services.enrichment.findings import SourceName
from services.enrichment.run import RunState, Turn
from services.enrichment.turn import take_turn
from tests.enrichment.engine import ADA, Sources, engine
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


async def test_a_run_that_cannot_be_read_stops_none_of_its_tenant(
    dsn: str, database: Database, nats_server: embedded.Nats
) -> None:
    async with engine(dsn, nats_server.url, Sources(), working=False) as idle:
        spoilt, good = [(await idle.accept()).run_id for _ in range(2)]
    await database.fetch(SPOIL, spoilt)
    async with engine(dsn, nats_server.url, Sources(), tenant_id=idle.tenant_id) as one:
        row, *_ = await one.ended(good)
        assert row["status"] == "complete"
        assert (await one.run(spoilt))[0]["ended_at"] is None


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
