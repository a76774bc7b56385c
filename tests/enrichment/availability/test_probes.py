"""Probes: each is the call of a run, and one that does not leave makes room for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from devstack import servers
from services.enrichment.run.state import Denial, Turn
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import Engine, Sources, engine
from tests.enrichment.policy.test_policy import allow
from tests.harness import Database

CONTACTOUT, EXA = SourceName.CONTACTOUT, SourceName.EXA
TRY_EXA = """
update enrichment.sources set
  state = 'half_open', epoch = 1, quota = 2, open_until = now() + interval '1 minute'
where source = 'exa'
"""


class Held:
    """A source that answers when the test lets it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, call: SourceCall) -> Answer:
        self.asked.set()
        await self.let_go.wait()
        return Answer(None)


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
async def one(
    database: Database, nats_server: servers.Nats, sources: Sources
) -> AsyncIterator[Engine]:
    """An engine that is trying Exa: two probes may go through, none has."""
    await database.fetch(TRY_EXA)
    async with engine(database.dsn("enrichment_app"), nats_server.url, sources) as one:
        await one.breakers.refresh()
        yield one


async def places_taken(database: Database) -> int:
    (row,) = await database.fetch("select admitted from enrichment.sources where source = 'exa'")
    return int(row["admitted"])


async def all_places_free(database: Database) -> None:
    async with asyncio.timeout(30):
        while await places_taken(database):
            await asyncio.sleep(0.01)


async def test_a_cancelled_probe_makes_room_for_another(
    one: Engine, database: Database, sources: Sources
) -> None:
    sources.answers[EXA] = held = Held()
    await one.accept()
    await held.asked.wait()
    assert await places_taken(database) == 1
    await database.fetch(
        "update enrichment.runs set lease_token = gen_random_uuid(),"
        " lease_expires_at = now() + interval '1 hour'"
    )
    await all_places_free(database)


async def test_a_run_that_is_denied_once_it_is_admitted_makes_room_for_another(
    one: Engine, database: Database, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit, stopped = one.breakers.admit, asyncio.Event()

    async def and_stop(source: SourceName) -> int | Denial:
        admission = await admit(source)
        if source is EXA:
            assert await places_taken(database) == 1
            await allow(database, one.tenant_id, is_stopped=True)
            stopped.set()
        return admission

    monkeypatch.setattr(one.breakers, "admit", and_stop)
    sources.answers[CONTACTOUT] = held = Held()  # so that the run stays in hand
    await one.accept()
    await stopped.wait()
    await all_places_free(database)
    assert sources.calls[EXA] == 0
    held.let_go.set()


async def test_an_admission_that_comes_during_a_turn_is_used_by_the_next(
    one: Engine, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit, take_turn = one.breakers.admit, one.writer.take_turn
    asked: list[SourceName] = []
    in_turn, admitted = asyncio.Event(), asyncio.Event()

    async def admit_during_a_turn(source: SourceName) -> int | Denial:
        if source is not EXA:
            return await admit(source)
        asked.append(source)
        await in_turn.wait()
        admission = await admit(source)
        admitted.set()
        return admission

    async def slow_turn(*values: Any) -> Turn:
        turn = await take_turn(*values)
        if EXA in turn.wanted and asked:
            in_turn.set()
            await admitted.wait()
            await asyncio.sleep(0)
        return turn

    monkeypatch.setattr(one.breakers, "admit", admit_during_a_turn)
    monkeypatch.setattr(one.writer, "take_turn", slow_turn)
    row, _ = await one.enriched()
    assert row["status"] == "complete"
    assert (len(asked), sources.calls[EXA]) == (1, 1)
