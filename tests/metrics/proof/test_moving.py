"""Proving a day while it is counted: what came in meanwhile is not taken for a difference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from functools import partial
from typing import Any, cast
from uuid import UUID

import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.database import Pool
from services.metrics import events
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.rebuild import LogDigest, Rebuilder
from services.metrics.proof.reconcile import reconcile
from services.metrics.proof.rpc import ProofRpc
from tests.harness import Database, Identity, holding
from tests.metrics.calls import DAY, USERS, record, some_activities, usage_of
from tests.metrics.conftest import Pair
from tests.metrics.feed import all_applied, no_dead_letters

pytestmark = pytest.mark.parametrize("pool", ["metrics"], indirect=True)
OUTCOMES = "select outcome from metrics.reconciliations"


def coming_in(pair: Pair, who: Identity, times: int) -> Callable[..., Awaitable[None]]:
    """Return a wait in which something more is recorded and counted, so many times at most."""
    waits = 0

    async def wait(_: int = 0) -> None:
        nonlocal waits
        waits += 1
        if waits <= times:
            await record(pair, who, some_activities(10, seed=waits))
            await usage_of(pair, who, 10 + 10 * waits)

    return wait


class BusyLog:
    """A log in which something more is recorded, and counted, before the day's counts are read."""

    def __init__(self, log: ActivityLog, come_in: Callable[[], Awaitable[None]]) -> None:
        self._log = log
        self._come_in = come_in

    async def day_digests(self, day: date) -> dict[UUID, LogDigest] | None:
        """Answer as the log does."""
        return await self._log.day_digests(day)

    async def count_day(
        self, tenant_id: UUID, day: date
    ) -> AsyncGenerator[Sequence[activity_pb.ActionCount]]:
        """Answer as the log does, once something has come in."""
        await self._come_in()
        async for counts in self._log.count_day(tenant_id, day):
            yield counts


async def some_usage(pair: Pair, who: Identity) -> None:
    """Record and count a few."""
    await record(pair, who, some_activities(10))
    await usage_of(pair, who, 10)


async def test_what_is_counted_while_a_day_is_verified_is_moving_and_not_excess(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog
) -> None:
    await some_usage(pair, ours)
    rebuilder = Rebuilder(
        pool, BusyLog(log, coming_in(pair, ours, times=1)), all_applied, no_dead_letters
    )
    nothing: Any = None
    auditing = ProofRpc(rebuilder, cast(Any, None))
    request = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY, thorough=True)
    kinds = [
        [finding.kind for finding in response.findings]
        for _ in range(2)
        async for response in auditing.VerifyUsage(request, nothing)
    ]
    assert kinds == [[pb.USAGE_FINDING_KIND_MOVING], []]


def erasing(pair: Pair, who: Identity) -> Callable[..., Awaitable[None]]:
    """Return what has activity erase a user."""

    async def erase() -> None:
        request = activity_pb.EraseUserRequest(user_id=USERS[0])
        await pair.activity.EraseUser(request, metadata=who.metadata())

    return erase


async def found_in(auditing: ProofRpc) -> list[Any]:
    """Return what a thorough verification of the day finds."""
    request, nothing = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY, thorough=True), None
    responses = auditing.VerifyUsage(request, cast(Any, nothing))
    return [finding async for response in responses for finding in response.findings]


@pytest.mark.parametrize("when", ["before", "during"])
async def test_an_erasure_on_its_way_is_no_difference(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, nats: Client, database: Database,
    when: str,
) -> None:  # fmt: skip
    await record(pair, ours, some_activities(60))
    await usage_of(pair, ours, 60)
    busy: Any = BusyLog(log, erasing(pair, ours)) if when == "during" else log
    rebuilder = Rebuilder(pool, busy, partial(events.wait_applied, nats), no_dead_letters)
    auditing = ProofRpc(rebuilder, cast(Any, None))
    async with holding(database, "lock table metrics.erasures in share mode"):
        if when == "before":
            await erasing(pair, ours)()
        verifying = asyncio.create_task(found_in(auditing))
        await asyncio.sleep(0.5)
        assert not verifying.done()
    assert await verifying == []


@pytest.mark.parametrize(("times", "outcome"), [(1, "equal"), (2, "equal"), (1_000, "moving")])
async def test_what_is_counted_while_a_day_is_reconciled_is_not_repaired(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, database: Database, times: int,
    outcome: str,
) -> None:  # fmt: skip
    await some_usage(pair, ours)
    rebuilder = Rebuilder(pool, log, coming_in(pair, ours, times), no_dead_letters)
    await reconcile(rebuilder, date.fromisoformat(DAY))
    assert [row["outcome"] for row in await database.fetch(OUTCOMES)] == [outcome]


UNCOUNTED = "lock table metrics.usage_metrics_quarter_hours in share mode"


@asynccontextmanager
async def counted_late(
    pair: Pair, who: Identity, log: ActivityLog, database: Database
) -> AsyncIterator[BusyLog]:
    """Give a log with entries that are counted only once its counts of the day are asked for."""
    await some_usage(pair, who)
    async with AsyncExitStack() as lock:
        await lock.enter_async_context(holding(database, UNCOUNTED))
        await record(pair, who, some_activities(5, seed=1))

        async def count() -> None:
            await lock.aclose()
            await usage_of(pair, who, 15)

        yield BusyLog(log, count)


async def test_what_was_handed_out_and_is_counted_while_a_day_is_reconciled_is_not_repaired(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, database: Database
) -> None:
    async with counted_late(pair, ours, log, database) as late:
        await reconcile(
            Rebuilder(pool, late, all_applied, no_dead_letters), date.fromisoformat(DAY)
        )
    assert [row["outcome"] for row in await database.fetch(OUTCOMES)] == ["equal"]


async def test_what_was_handed_out_and_is_counted_while_a_day_is_verified_is_moving(
    pair: Pair, ours: Identity, pool: Pool, log: ActivityLog, database: Database
) -> None:
    async with counted_late(pair, ours, log, database) as late:
        rebuilder = Rebuilder(pool, late, all_applied, no_dead_letters)
        auditing = ProofRpc(rebuilder, cast(Any, None))
        kinds = [[finding.kind for finding in await found_in(auditing)] for _ in range(2)]
    assert kinds == [[pb.USAGE_FINDING_KIND_MOVING], []]
