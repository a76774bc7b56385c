"""Pauses: for all replicas, and at once in the one that was called."""

from __future__ import annotations

import asyncio

import pytest

from chassis.database import Connection
from services.enrichment.availability import store
from services.enrichment.availability.store import SourceState
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import Engine

EXA = SourceName.EXA


async def test_a_paused_source_is_left_alone_until_it_is_resumed(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = replicas
    await one.breakers.pause(EXA, paused=True, until=None, reason="the bill")
    await two.breakers.refresh()
    denial = two.breakers.denial(EXA)
    assert denial
    assert "the bill" in denial.reason
    await two.breakers.pause(EXA, paused=False, until=None, reason="")
    await one.breakers.refresh()
    assert one.breakers.denial(EXA) is None


async def test_a_late_reading_does_not_undo_a_newer_one(
    replicas: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = replicas
    await one.breakers.pause(EXA, paused=True, until=None, reason="the bill")
    resumed, read_sources = asyncio.Event(), store.read_sources

    async def read_late(connection: Connection) -> list[SourceState]:
        rows = await read_sources(connection)
        has_read.set()
        await resumed.wait()
        return rows

    has_read = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(store, "read_sources", read_late)
        late = asyncio.create_task(one.breakers.refresh())
        await has_read.wait()
    await one.breakers.pause(EXA, paused=False, until=None, reason="")
    resumed.set()
    await late
    assert one.breakers.denial(EXA) is None
