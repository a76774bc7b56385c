"""Rates: all replicas together call a source no more often than its rate says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from devstack import servers
from services.enrichment.availability import store
from services.enrichment.availability.rate import Limits
from services.enrichment.run.state import StepStatus
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker.execution import Ask
from tests.enrichment.engine import TIMES, Engine, Sources, engine, finding
from tests.harness import Database

EXA, SEC = SourceName.EXA, SourceName.SEC


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("enrichment_app")


def paced(one: Engine, requests: int, seconds: float = 0) -> Ask:
    """Return the SEC as a source: each of a call's requests waits for a slot, then takes time."""

    async def ask(call: SourceCall) -> Answer:
        for _ in range(requests):
            await one.limits.wait(SEC)
            await asyncio.sleep(seconds)
        return Answer(finding(SEC))

    return ask


async def test_replicas_share_a_rate(database: Database, nats_server: servers.Nats) -> None:
    dsn, rates = database.dsn("enrichment_app"), {EXA: 50.0}
    options: dict[str, Any] = {"rates": rates, "working": False}
    async with (
        engine(dsn, nats_server.url, Sources(), **options) as one,
        engine(dsn, nats_server.url, Sources(), **options) as two,
    ):
        begun = time.monotonic()
        left: list[float] = []

        async def call(limits: Limits) -> None:
            await limits.wait(EXA)
            left.append(time.monotonic() - begun)

        await asyncio.gather(*(call(each.limits) for each in (one, two) * 20))
    left.sort()
    # Of forty calls at fifty a second none leaves before its slot; on a busy machine some are late.
    assert all(moment >= slot / 50 - 0.005 for slot, moment in enumerate(left))


async def test_edgars_slots_lie_wider_than_its_rate_so_that_no_second_has_too_many(
    database: Database, nats_server: servers.Nats
) -> None:
    rates = {SEC: 50.0}
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, Sources(), rates=rates, working=False) as one:
        begun = time.monotonic()
        await asyncio.gather(*(one.limits.wait(SEC) for _ in range(26)))
    assert time.monotonic() - begun >= 25 * 1.1 / 50 - 0.005


async def test_a_call_whose_requests_wait_long_for_slots_is_asked_once_and_is_no_failure(
    dsn: str, nats_server: servers.Nats
) -> None:
    sources, rates = Sources(), {SEC: 5.0}  # slots lie 0.22 s apart
    async with engine(dsn, nats_server.url, sources, rates=rates, call_seconds=0.5) as one:
        sources.answers[SEC] = paced(one, requests=4)
        _, steps = await one.enriched()
        assert (steps[SEC].status, steps[SEC].attempts) == (StepStatus.COMPLETE, 1)
        assert one.breakers.failures(SEC) == 0


async def test_a_source_that_is_slow_between_the_waits_for_slots_takes_too_long(
    dsn: str, nats_server: servers.Nats
) -> None:
    sources, rates = Sources(), {SEC: 50.0}
    async with engine(dsn, nats_server.url, sources, rates=rates, call_seconds=0.15) as one:
        sources.answers[SEC] = paced(one, requests=4, seconds=0.1)
        run_id = (await one.accept()).run_id
        async with asyncio.timeout(30):
            while one.breakers.failures(SEC) < 2:
                await asyncio.sleep(0.01)
        _, steps = await one.run(run_id)
        assert steps[SEC].error_class == "transient"


async def test_a_call_waits_for_slots_no_longer_than_its_run_takes_what_comes_late(
    dsn: str, nats_server: servers.Nats
) -> None:
    sources, rates = Sources(), {SEC: 0.2}
    times = replace(TIMES, deadline=timedelta(seconds=0.4), late=timedelta(seconds=0.4))
    async with engine(dsn, nats_server.url, sources, rates=rates, times=times) as one:
        sources.answers[SEC] = paced(one, requests=2)
        _, steps = await one.calls_ended((await one.accept()).run_id)
        assert (steps[SEC].status, steps[SEC].error_class) == (StepStatus.FAILED, "transient")
        assert steps[SEC].reason.startswith("our own rate left the call no room")
        assert one.breakers.failures(SEC) == 0


async def test_an_outage_of_postgres_between_a_calls_requests_is_no_fault_of_the_source(
    dsn: str, nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_slots, away = store.take_slots, [ConnectionResetError()]

    async def failing(*values: Any) -> float | None:
        if away:
            raise away.pop()
        return await take_slots(*values)

    monkeypatch.setattr(store, "take_slots", failing)
    sources, rates = Sources(), {SEC: 50.0}
    async with engine(dsn, nats_server.url, sources, rates=rates, fail_max=1) as one:
        sources.answers[SEC] = paced(one, requests=2)
        _, steps = await one.enriched()
        assert (steps[SEC].status, steps[SEC].attempts) == (StepStatus.COMPLETE, 2)
        assert one.breakers.is_closed(SEC)


async def test_slots_are_given_in_the_order_of_asking(
    database: Database, nats_server: servers.Nats
) -> None:
    order: list[int] = []
    async with engine(
        database.dsn("enrichment_app"),
        nats_server.url,
        Sources(),
        rates={EXA: 200.0},
        working=False,
    ) as one:

        async def call(number: int) -> None:
            await one.limits.wait(EXA)
            order.append(number)

        await asyncio.gather(*(call(number) for number in range(30)))
    assert order == sorted(order)


async def test_a_source_without_a_rate_waits_for_nothing(
    database: Database, nats_server: servers.Nats
) -> None:
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        assert await one.limits.wait(EXA) == 0.0


async def test_a_cancelled_wait_does_not_delay_the_others(
    database: Database, nats_server: servers.Nats
) -> None:
    async with engine(
        database.dsn("enrichment_app"), nats_server.url, Sources(), rates={EXA: 20.0}, working=False
    ) as one:
        waiting = [asyncio.create_task(one.limits.wait(EXA)) for _ in range(6)]
        await asyncio.sleep(0)
        for task in waiting[1:5]:
            task.cancel()
        async with asyncio.timeout(30):
            await asyncio.gather(waiting[0], waiting[5])


@dataclass
class Slots:
    """What is asked of Postgres, which answers at once: `far` times that all slots are taken."""

    far: int = 0
    wanted: list[int] = field(default_factory=list)
    intervals: set[timedelta] = field(default_factory=set)

    async def take(
        self, pool: Any, source: SourceName, wanted: int, interval: timedelta, horizon: timedelta
    ) -> float | None:
        assert horizon == timedelta(seconds=1)
        if self.far:
            self.far -= 1
            return None
        self.wanted.append(wanted)
        self.intervals.add(interval)
        return 0.0


async def all_wait(limits: Limits, calls: int) -> None:
    async with asyncio.timeout(30):
        await asyncio.gather(*(limits.wait(EXA) for _ in range(calls)))


@pytest.mark.parametrize(
    ("rate", "calls", "wanted"), [(50, 4, [4]), (2.5, 5, [2, 2, 1]), (0.5, 2, [1, 1])]
)
async def test_slots_of_a_second_are_taken_at_once_and_each_is_given_once(
    monkeypatch: pytest.MonkeyPatch, rate: float, calls: int, wanted: list[int]
) -> None:
    slots, limits = Slots(), Limits(None, {EXA: rate})  # type: ignore[arg-type]
    monkeypatch.setattr(store, "take_slots", slots.take)
    await all_wait(limits, calls)
    assert slots.wanted == wanted
    assert slots.intervals == {timedelta(seconds=1 / rate)}


async def test_where_all_slots_are_taken_it_looks_again_in_half_the_time_that_they_are_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots, limits = Slots(far=2), Limits(None, {EXA: 50.0})  # type: ignore[arg-type]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(store, "take_slots", slots.take)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    await all_wait(limits, 1)
    assert slept[:2] == [0.5, 0.5]


async def test_a_call_is_told_how_long_it_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(None, {EXA: 20.0})  # type: ignore[arg-type]
    monkeypatch.setattr(store, "take_slots", Slots().take)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    _, waited = await asyncio.gather(limits.wait(EXA), limits.wait(EXA))
    assert 0.05 - 0.005 <= waited <= loop.time() - begun


async def test_a_call_begins_without_a_slot_where_there_is_no_rate_or_its_requests_take_them() -> (
    None
):
    limits = Limits(None, {EXA: 0, SEC: 5, SourceName.CONTACTOUT: 5})  # type: ignore[arg-type]
    assert [limits.is_free(each) for each in (EXA, SEC, SourceName.CONTACTOUT)] == [
        True, True, False,
    ]  # fmt: skip
