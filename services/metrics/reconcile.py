"""Proving a day's roll-up equal to the log, and repairing it where it is not.

A tenant's day whose digest differs is rebuilt from the log (rebuilding.py says when that is safe);
a local day that is not the sum of its quarters is counted from them, once every counter of every
user's quarters is that of the log: a digest says nothing of counters. A day that the log does not
keep any more is left as it was counted. A tenant whose day cannot be settled stops no other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import date
from typing import Any
from uuid import UUID

import structlog

from chassis.database import tenant_transaction
from chassis.errors import DependencyAwayError
from services.metrics import store
from services.metrics.comparing import Finding, differing_users, moved_since, uneven_days
from services.metrics.reaching import tell_reached
from services.metrics.rebuilding import LogDigest, MovingError, Rebuilder
from services.metrics.store import Digest, Reconciliation

ROUNDS = 5
PAUSE_SECONDS = 0.5
MOST_FINDINGS = 100
_log = structlog.get_logger()


class Found:
    """What differs: the first of it, to be remembered, and how much there is."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.count = 0
        self.records: list[dict[str, Any]] = []
        for each in findings:
            self.add(each)

    def add(self, finding: Finding) -> None:
        """Count one."""
        self.count += 1
        if len(self.records) < MOST_FINDINGS:
            self.records.append(finding.record())


class UnsettledError(Exception):
    """Tenants whose day could not be compared or repaired; those of all others were."""


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
    """Have the event come again: later where only a server is away, else as often as a bug may."""
    errors = list(failed.values())
    if errors and all(isinstance(each, DependencyAwayError) for each in errors):
        raise errors[0]
    if errors:
        text = f"{len(errors)} tenants' {day} could not be settled: {', '.join(map(str, failed))}"
        raise UnsettledError(text[:500]) from errors[0]


async def _one_round(
    rebuilder: Rebuilder,
    day: date,
    only: set[UUID] | None,
    failed: dict[UUID, Exception],
) -> dict[UUID, Reconciliation]:
    logged = await rebuilder.log.day_digests(day)
    if logged is None:
        return {}
    unpublished = await rebuilder.unpublished(day, logged)
    await rebuilder.wait_applied()
    async with rebuilder.pool.acquire() as connection:
        counted = await store.day_digests(connection, day)
    uneven: dict[UUID, list[Finding]] = {}
    for finding in await uneven_days(rebuilder.pool, day):
        uneven.setdefault(finding.tenant_id, []).append(finding)
    differs = counted != {tenant_id: log.digest for tenant_id, log in logged.items()}
    moved = await moved_since(rebuilder.log, day, logged) if differs else set()
    found = {}
    for tenant_id in sorted(logged.keys() | counted.keys() | uneven.keys()):
        theirs = logged.get(tenant_id, LogDigest(Digest()))
        if theirs.expired or (only is not None and tenant_id not in only):
            continue
        ours, differing = counted.get(tenant_id, Digest()), uneven.get(tenant_id, [])
        if ours != theirs.digest and tenant_id in unpublished | moved:
            found[tenant_id] = Reconciliation("moving", theirs.digest, ours)
            continue
        try:
            found[tenant_id] = await _settle(rebuilder, tenant_id, day, theirs, ours, differing)
        except Exception as error:
            _log.exception("not reconciled", tenant=str(tenant_id), date=str(day))
            failed[tenant_id] = error
    return found


async def _settle(
    rebuilder: Rebuilder,
    tenant_id: UUID,
    day: date,
    theirs: LogDigest,
    ours: Digest,
    uneven: list[Finding],
) -> Reconciliation:
    """Repair one tenant's day where it differs."""
    if ours == theirs.digest and not uneven:
        return Reconciliation("equal", theirs.digest, ours)
    found = Found(uneven)
    async with aclosing(differing_users(rebuilder, tenant_id, day)) as differing:
        async for each in differing:
            found.add(each)
    if found.count > len(uneven) and tenant_id in await moved_since(
        rebuilder.log, day, {tenant_id: theirs}
    ):
        return Reconciliation("moving", theirs.digest, ours)
    if ours == theirs.digest and found.count == len(uneven):
        await _recount(rebuilder, tenant_id, uneven)
    else:
        try:
            await rebuilder.rebuild_once(tenant_id, [day])
        except MovingError:
            return Reconciliation("moving", theirs.digest, ours)
    _log.warning("repaired", tenant=str(tenant_id), date=str(day), differences=found.count)
    return Reconciliation("repaired", theirs.digest, ours, found.count, found.records)


async def _recount(rebuilder: Rebuilder, tenant_id: UUID, uneven: list[Finding]) -> None:
    dates = [each.date for each in uneven]
    async with tenant_transaction(rebuilder.pool, tenant_id) as connection:
        await store.lock_exclusive(connection, tenant_id)
        await store.recount_days(connection, tenant_id, min(dates), max(dates))
        await tell_reached(connection, tenant_id)
