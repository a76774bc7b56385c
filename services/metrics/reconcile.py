"""Proving a day's roll-up equal to the log, and repairing it where it is not.

A repair must not race with events on their way, or these would be counted twice. So a tenant's day
is rewritten only when all three hold:
1. when the log's digest was taken, none of the tenant's events waited in activity's outbox, and
   since then every event of the stream up to that moment was handled: all it covers is applied;
2. the log's counts, fetched later, still have that digest: they hold nothing newer;
3. under a lock, the roll-up still has the digest that differed: nothing was applied in between.
Otherwise the day is moving, and is looked at again. A day that the log does not keep any more is
left as it was counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import structlog
from prospect.activity.v1 import activity_service_pb2 as activity_pb

from chassis.database import Pool, tenant_transaction
from services.metrics import store
from services.metrics.store import Digest

ROUNDS = 5
PAUSE_SECONDS = 0.5
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LogDigest:
    """The log's fingerprint of a tenant's day."""

    digest: Digest
    unpublished_events: int = 0
    expired: bool = False


class Log(Protocol):
    """What reconcile asks of the activity service."""

    async def day_digests(self, day: date) -> dict[UUID, LogDigest] | None:
        """Return each tenant's fingerprint; None where the log does not reach back to the day."""

    async def count_day(self, tenant_id: UUID, day: date) -> Sequence[activity_pb.ActionCount]:
        """Return one tenant's counts."""


WaitApplied = Callable[[], Awaitable[None]]


async def reconcile(pool: Pool, log: Log, wait_applied: WaitApplied, day: date) -> dict[str, int]:
    """Compare every tenant's day, repair what differs, and return how many had which outcome."""
    outcomes = {"equal": 0, "repaired": 0, "moving": 0}
    pending: set[UUID] | None = None
    for number in range(ROUNDS):
        last = number == ROUNDS - 1
        moving = set()
        async for tenant_id, outcome in _one_round(pool, log, wait_applied, day, pending, last):
            if outcome == "moving" and not last:
                moving.add(tenant_id)
            else:
                outcomes[outcome] += 1
        if not moving:
            break
        pending = moving
        await asyncio.sleep(PAUSE_SECONDS)
    _log.info("reconciled", date=str(day), **outcomes)
    return outcomes


async def _one_round(
    pool: Pool, log: Log, wait_applied: WaitApplied, day: date, only: set[UUID] | None, last: bool
) -> AsyncIterator[tuple[UUID, str]]:
    logged = await log.day_digests(day)
    if logged is None:
        return
    await wait_applied()
    async with pool.acquire() as connection:
        counted = await store.day_digests(connection, day)
    for tenant_id in sorted(logged.keys() | counted.keys()):
        ours = counted.get(tenant_id, Digest())
        theirs = logged.get(tenant_id, LogDigest(Digest()))
        if theirs.expired or (only is not None and tenant_id not in only):
            continue
        outcome = "equal"
        if ours != theirs.digest:
            outcome = await _repair(pool, log, tenant_id, day, theirs, ours)
        if outcome != "moving" or last:
            async with tenant_transaction(pool, tenant_id) as connection:
                await store.note_reconciliation(
                    connection, tenant_id, day, outcome, theirs.digest, ours
                )
        yield tenant_id, outcome


async def _repair(
    pool: Pool, log: Log, tenant_id: UUID, day: date, theirs: LogDigest, ours: Digest
) -> str:
    if theirs.unpublished_events:
        return "moving"
    counts = await log.count_day(tenant_id, day)
    if _digest_of(counts) != theirs.digest:
        return "moving"
    async with tenant_transaction(pool, tenant_id) as connection:
        if await store.lock_day(connection, tenant_id, day) != ours:
            return "moving"
        await store.rewrite_day(connection, tenant_id, day, counts)
    _log.warning(
        "repaired",
        tenant=str(tenant_id),
        date=str(day),
        log_count=theirs.digest.activity_count,
        rollup_count=ours.activity_count,
    )
    return "repaired"


def _digest_of(counts: Sequence[activity_pb.ActionCount]) -> Digest:
    total = sum(each.activity_count for each in counts)
    return Digest(total, sum((Decimal(each.digest) for each in counts), Decimal(0)))
