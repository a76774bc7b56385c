"""Room at a source's rate: one for every replica."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from chassis import embedded
from services.enrichment.findings import SourceName
from services.enrichment.limits import Limits
from tests.enrichment.engine import Sources, engine
from tests.harness import Database

EXA = SourceName.EXA


async def test_replicas_share_a_rate(database: Database, nats_server: embedded.Nats) -> None:
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
    # Forty calls at fifty a second: the last cannot leave before 39 intervals have passed, and in
    # no tenth of a second do more leave than the rate gives (one more for the clocks).
    assert left[-1] >= 39 / 50 - 0.005
    assert all(
        later - earlier >= 0.1 - 0.02 for earlier, later in zip(left, left[6:], strict=False)
    )


async def test_edgars_slots_lie_wider_than_its_rate_so_that_no_second_has_one_too_many(
    database: Database, nats_server: embedded.Nats
) -> None:
    rates = {SourceName.SEC: 50.0}
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, Sources(), rates=rates, working=False) as one:
        begun = time.monotonic()
        await asyncio.gather(*(one.limits.wait(SourceName.SEC) for _ in range(26)))
    assert time.monotonic() - begun >= 25 * 1.1 / 50 - 0.005


async def test_slots_are_given_in_the_order_of_asking(
    database: Database, nats_server: embedded.Nats
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
    database: Database, nats_server: embedded.Nats
) -> None:
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        assert await one.limits.wait(EXA) == 0.0


async def test_one_who_leaves_the_queue_does_not_hold_up_the_others(
    database: Database, nats_server: embedded.Nats
) -> None:
    async with engine(
        database.dsn("enrichment_app"), nats_server.url, Sources(), rates={EXA: 20.0}, working=False
    ) as one:
        waiting = [asyncio.create_task(one.limits.wait(EXA)) for _ in range(6)]
        await asyncio.sleep(0)
        for task in waiting[1:5]:
            task.cancel()
        async with asyncio.timeout(3):
            await asyncio.gather(waiting[0], waiting[5])
