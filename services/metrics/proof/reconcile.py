"""Proving a day's roll-up equal to the log, and repairing it where it is not.

A tenant's day whose digest differs is rebuilt from the log (rebuild.py says when that is safe);
a local day that is not the sum of its quarters is counted from them, once every counter of every
user's quarters is that of the log: a digest says nothing of counters. A day that the log does not
keep any more is left as it was counted, its local days made the sums of their quarters. What is
used of quotas is made the sum of the days. A tenant whose day cannot
be compared or repaired stops no other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from chassis.database import tenant_transaction
from chassis.transient import TRANSIENT
from services.metrics import store
from services.metrics.proof.comparison import (
    Difference,
    differing_users,
    moved_since,
    uneven_days,
    uneven_quotas,
)
from services.metrics.proof.rebuild import (
    DaysChanged,
    EventsNotApplied,
    LogDigest,
    Rebuilder,
    published_of,
)
from services.metrics.quotas.reached import announce_reached_limits
from services.metrics.sql import SQL
from services.metrics.store import Digest, Reconciliation
from services.metrics.usage.calendar import read_days

ROUNDS = 5
PAUSE_SECONDS = 0.5
MAX_DIFFERENCES = 100
_log = structlog.get_logger()


class Differences:
    """What differs: the first differences, which are stored, and how many there are."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self.count = 0
        self.records: list[dict[str, Any]] = []
        for each in differences:
            self.add(each)

    def add(self, difference: Difference) -> None:
        """Count one."""
        self.count += 1
        if len(self.records) < MAX_DIFFERENCES:
            self.records.append(difference.record())


class NotReconciled(Exception):
    """The day of some tenants could not be compared or repaired; all others were."""


async def reconcile(rebuilder: Rebuilder, day: date) -> dict[str, int]:
    """Compare every tenant's day, repair what differs, and return how many had which outcome."""
    outcomes = {"equal": 0, "repaired": 0, "moving": 0}
    pending: set[UUID] | None = None
    failed: dict[UUID, Exception] = {}
    for number in range(ROUNDS):
        found = await _one_round(rebuilder, day, pending, failed)
        last = number == ROUNDS - 1
        pending = {each for each, was in found.items() if was.outcome == "moving" and not last}
        for tenant_id in found.keys() - pending:
            outcomes[found[tenant_id].outcome] += 1
            async with tenant_transaction(rebuilder.pool, tenant_id) as connection:
                await store.note_reconciliation(connection, tenant_id, day, found[tenant_id])
        if not pending:
            break
        await asyncio.sleep(PAUSE_SECONDS)
    _log.info("reconciled", date=str(day), failed=len(failed), **outcomes)
    _raise_of(day, failed)
    return outcomes


def _raise_of(day: date, failed: dict[UUID, Exception]) -> None:
    """Have the event delivered again: without limit after transient errors, else as for a bug."""
    errors = list(failed.values())
    if errors and all(_is_transient(each) for each in errors):
        raise errors[0]
    if errors:
        tenants = ", ".join(map(str, failed))
        text = f"{day} of {len(errors)} tenants could not be compared or repaired: {tenants}"
        raise NotReconciled(text[:500]) from errors[0]


def _is_transient(error: Exception) -> bool:
    """Whether nobody is at fault; a statement that takes too long is this tenant's own fault."""
    too_long = isinstance(error, TimeoutError | asyncpg.QueryCanceledError)
    return isinstance(error, TRANSIENT) and not too_long


@dataclass(frozen=True, slots=True)
class _Day:
    """A UTC day as log and roll-up have it, by tenant; those `moving` have events on the way."""

    date: date
    logged: Mapping[UUID, LogDigest]
    counted: Mapping[UUID, Digest]
    uneven: Mapping[UUID, list[Difference]]
    moving: Collection[UUID] = ()
    expired: bool = False

    def tenants(self) -> list[UUID]:
        """Return all that have anything on the day."""
        return sorted(self.logged.keys() | self.counted.keys() | self.uneven.keys())


async def _one_round(
    rebuilder: Rebuilder,
    day: date,
    only: set[UUID] | None,
    failed: dict[UUID, Exception],
) -> dict[UUID, Reconciliation]:
    seen = await _read_day(rebuilder, day)
    found: dict[UUID, Reconciliation] = {}
    for tenant_id in seen.tenants():
        if only is not None and tenant_id not in only:
            continue
        try:
            outcome = await _compare_and_repair(rebuilder, tenant_id, seen)
        except EventsNotApplied:
            raise  # every other tenant would wait as long, and for the same events
        except Exception as error:
            _log.exception("not reconciled", tenant=str(tenant_id), date=str(day))
            failed[tenant_id] = error
        else:
            if outcome:
                found[tenant_id] = outcome
    return found


async def _read_day(rebuilder: Rebuilder, day: date) -> _Day:
    logged = await rebuilder.log.day_digests(day)
    unpublished = await rebuilder.unpublished(day, logged or {})
    await rebuilder.wait_applied(published_of(logged))
    async with rebuilder.pool.acquire() as connection:
        counted = await store.day_digests(connection, day)
    uneven: dict[UUID, list[Difference]] = {}
    for difference in await uneven_days(rebuilder.pool, day):
        uneven.setdefault(difference.tenant_id, []).append(difference)
    if logged is None:
        return _Day(day, {}, {}, uneven, expired=True)
    differs = counted != {tenant_id: log.digest for tenant_id, log in logged.items()}
    moved = await moved_since(rebuilder.log, day, logged) if differs else set()
    return _Day(day, logged, counted, uneven, unpublished | moved)


async def _compare_and_repair(
    rebuilder: Rebuilder, tenant_id: UUID, seen: _Day
) -> Reconciliation | None:
    """Repair one tenant's day where it differs; None where there is nothing to compare with."""
    theirs = seen.logged.get(tenant_id, LogDigest(Digest(), expired=seen.expired))
    ours, found = seen.counted.get(tenant_id, Digest()), Differences(seen.uneven.get(tenant_id, []))
    if ours != theirs.digest and tenant_id in seen.moving:
        return Reconciliation("moving", theirs.digest, ours)
    if theirs.expired and not found.count:
        return None
    try:
        if found.count or ours != theirs.digest:
            await _repair(rebuilder, tenant_id, seen.date, theirs, ours, found)
    except DaysChanged:
        return Reconciliation("moving", theirs.digest, ours)
    for wrong in await _mend_quotas(rebuilder, tenant_id):
        found.add(wrong)
    if not found.count and ours == theirs.digest:
        return Reconciliation("equal", theirs.digest, ours)
    _log.warning("repaired", tenant=str(tenant_id), date=str(seen.date), differences=found.count)
    return Reconciliation("repaired", theirs.digest, ours, found.count, found.records)


async def _repair(
    rebuilder: Rebuilder,
    tenant_id: UUID,
    day: date,
    theirs: LogDigest,
    ours: Digest,
    found: Differences,
) -> None:
    """Rebuild from the log what is not as it says; else count the uneven day from its quarters."""
    days = set() if ours == theirs.digest or theirs.expired else {day}
    for each in await _touched(rebuilder, tenant_id, day, theirs) if found.count else [day]:
        counted = ours if each == day else await rebuilder.digest_of(tenant_id, each)
        before = found.count
        async with aclosing(differing_users(rebuilder, tenant_id, each)) as differing:
            async for difference in differing:
                found.add(difference)
        days |= {each} if found.count > before else set()
        if each in days and await rebuilder.is_behind(tenant_id, each, counted):
            raise DaysChanged
    if day in days and tenant_id in await moved_since(rebuilder.log, day, {tenant_id: theirs}):
        raise DaysChanged
    if days:
        await rebuilder.rebuild_once(tenant_id, sorted(days))
    else:
        await _recount(rebuilder, tenant_id, day)


async def _touched(
    rebuilder: Rebuilder, tenant_id: UUID, day: date, theirs: LogDigest
) -> list[date]:
    """Return the UTC days of which the local day has quarters and the log has counts.

    The day after is not over where the day has just ended, and is compared when it is.
    """
    if theirs.expired:
        return []
    async with tenant_transaction(rebuilder.pool, tenant_id) as connection:
        zone = await store.time_zone(connection, tenant_id)
        local = await read_days(connection, zone, day, day)
    before = local.midnight(day).date()
    if before == day:
        return [day]
    logged = await rebuilder.log.day_digests(before)
    kept = logged is not None and not logged.get(tenant_id, theirs).expired
    return [before, day] if kept else [day]


async def _recount(rebuilder: Rebuilder, tenant_id: UUID, day: date) -> None:
    async with store.rework(rebuilder.pool, tenant_id) as connection:
        await store.lock_exclusive(connection, tenant_id)
        await store.recount_days(connection, tenant_id, day, day)
        await announce_reached_limits(connection, tenant_id)


async def _mend_quotas(rebuilder: Rebuilder, tenant_id: UUID) -> list[Difference]:
    """Make what is used of the tenant's quotas the sum of its days; return what was not."""
    async with tenant_transaction(rebuilder.pool, tenant_id) as connection:
        if not await connection.fetchval(SQL.has_quotas, tenant_id):
            return []
        await store.lock_exclusive(connection, tenant_id)
        before = await connection.fetch(SQL.quota_usage, tenant_id)
        await connection.execute(SQL.clear_quota_usage, tenant_id)
        await connection.execute(SQL.recount_quotas, tenant_id)
        after = await connection.fetch(SQL.quota_usage, tenant_id)
        await announce_reached_limits(connection, tenant_id)
    return uneven_quotas(tenant_id, before, after)
