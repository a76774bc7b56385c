"""Counting days anew from the log: into a shadow, which is then swapped in, in one transaction.

It must not race with events on their way, or these would be lost or counted twice. So days are
swapped only when all three hold:
1. since the log's digest was taken, all the tenant's events that waited in activity's outbox were
   published, and then every event of the stream up to that moment was handled, but for those of
   other tenants that come again and again: all it covers is applied, however many came meanwhile;
2. the log's counts, fetched later, still have that digest: they hold nothing newer;
3. under the tenant's lock, the roll-up still has the digest of after 1: nothing was applied since.
Otherwise the days are moving, and are looked at again.

What is in a dead letter by the time of 2 is in the log's counts: its event is remembered as counted
in the same transaction, so that it may be put back whenever somebody likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from prospect.activity.v1 import activity_service_pb2 as activity_pb

from chassis.clock import new_id
from chassis.database import Pool, tenant_transaction
from chassis.transient import RetryLater
from services import topology
from services.metrics import store
from services.metrics.quotas.reached import announce_reached_limits
from services.metrics.sql import SQL
from services.metrics.store import Digest

ROUNDS = 8
PAUSE_SECONDS = 0.25
CONSUMER = topology.ACTIVITY_RECORDED.name
OUTBOX_LOOKS = 10
OUTBOX_SECONDS = 0.1
DAY = timedelta(days=1)
WaitApplied = Callable[[int], Awaitable[None]]
"""Waits until what is published is applied; the stream must reach to the sequence."""
DeadLetters = Callable[[UUID], Awaitable[Mapping[UUID, Set[date]]]]
"""Gives a tenant's events that could not be counted, with the UTC days of their entries."""
HasRetried = Callable[[UUID], Awaitable[bool]]
"""Tells whether an event of a tenant comes again and again and is not counted yet."""


@dataclass(frozen=True, slots=True)
class LogDigest:
    """The log's fingerprint of a tenant's day."""

    digest: Digest
    unpublished_events: int = 0
    expired: bool = False
    first_unpublished: int = 0
    last_unpublished: int = 0
    published_sequence: int = 0

    def is_published(self, later: LogDigest | None) -> bool:
        """Tell by a later fingerprint whether all that this one covers has left the outbox."""
        if later is None:
            return False
        return not later.unpublished_events or later.first_unpublished > self.last_unpublished > 0


def published_of(logged: Mapping[UUID, LogDigest] | None) -> int:
    """Return the sequence to which the stream must reach, if it has lost nothing."""
    return max((each.published_sequence for each in (logged or {}).values()), default=0)


class Log(Protocol):
    """What is asked of the activity service."""

    async def day_digests(self, day: date) -> dict[UUID, LogDigest] | None:
        """Return each tenant's fingerprint; None where the log does not reach back to the day."""

    def count_day(
        self, tenant_id: UUID, day: date
    ) -> AsyncGenerator[Sequence[activity_pb.ActionCount]]:
        """Yield one tenant's counts by quarter-hour in the order of users, some at a time."""


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did."""

    days: int = 0
    expired: int = 0
    changed: int = 0
    activities: int = 0


class DaysChanged(Exception):
    """Days changed while they were counted."""


class EventsNotApplied(RetryLater):
    """Events that the log has published were not counted within a minute."""


async def _none_is_retried(_: UUID) -> bool:
    return False


class Rebuilder:
    """Rebuilds days of one tenant."""

    def __init__(
        self,
        pool: Pool,
        log: Log,
        wait_applied: WaitApplied,
        dead_letters: DeadLetters,
        has_retried: HasRetried = _none_is_retried,
    ) -> None:
        self.pool = pool
        self.log = log
        self.wait_applied = wait_applied
        self.dead_letters = dead_letters
        self.has_retried = has_retried

    async def rebuild(self, tenant_id: UUID, days: Sequence[date]) -> Rebuilt:
        """Rebuild days, again while they change meanwhile; DaysChanged where they always do."""
        for _ in range(ROUNDS - 1):
            try:
                return await self.rebuild_once(tenant_id, days)
            except DaysChanged:
                await asyncio.sleep(PAUSE_SECONDS)
        return await self.rebuild_once(tenant_id, days)

    async def rebuild_once(self, tenant_id: UUID, days: Sequence[date]) -> Rebuilt:
        """Rebuild days, or raise DaysChanged and leave the roll-up as it is."""
        done, right, published = Rebuilt(), dict[date, Digest](), 0
        waiting: tuple[date, dict[UUID, LogDigest]] | None = None
        for day in days:
            logged = await self.log.day_digests(day)
            theirs = (logged or {}).get(tenant_id, LogDigest(Digest()))
            if logged is None or theirs.expired:
                done.expired += 1
                continue
            right[day] = theirs.digest
            published = max(published, theirs.published_sequence)
            if theirs.unpublished_events:
                waiting = day, {tenant_id: theirs}
        if waiting and await self.unpublished(*waiting):
            raise DaysChanged
        await self.wait_applied(published)
        if await self.has_retried(tenant_id):
            raise DaysChanged
        if right:
            await self._count_and_swap(tenant_id, right, done)
        return done

    async def unpublished(self, day: date, logged: Mapping[UUID, LogDigest]) -> set[UUID]:
        """Return the tenants of whom something that fingerprints cover stays in the outbox."""
        waiting = {tenant_id for tenant_id, each in logged.items() if each.unpublished_events}
        for _ in range(OUTBOX_LOOKS):
            if not waiting:
                break
            await asyncio.sleep(OUTBOX_SECONDS)
            later = await self.log.day_digests(day) or {}
            waiting = {each for each in waiting if not logged[each].is_published(later.get(each))}
        return waiting

    async def digest_of(self, tenant_id: UUID, day: date) -> Digest:
        """Return the fingerprint of what was counted for a tenant on a UTC day."""
        async with tenant_transaction(self.pool, tenant_id) as connection:
            return (await store.digests_of(connection, tenant_id, day, day)).get(day, Digest())

    async def is_behind(self, tenant_id: UUID, day: date, counted: Digest) -> bool:
        """Whether events that were handed out were not counted yet when `counted` was read.

        They are still open, or have been counted since: what differs from the log then is no fault.
        """
        if await self.has_retried(tenant_id):
            return True
        return await self.digest_of(tenant_id, day) != counted

    async def _count_and_swap(
        self, tenant_id: UUID, right: dict[date, Digest], done: Rebuilt
    ) -> None:
        rebuild_id, first, last = new_id(), min(right), max(right)
        dead = await self.dead_letters(tenant_id)
        covered = [event_id for event_id, days in dead.items() if days <= right.keys()]
        async with tenant_transaction(self.pool, tenant_id) as connection:
            before = await store.digests_of(connection, tenant_id, first, last)
        try:
            for day, digest in right.items():
                await self._fill(tenant_id, rebuild_id, day, digest)
            async with store.rework(self.pool, tenant_id) as connection:
                await store.lock_rework(connection, tenant_id)
                await store.lock_exclusive(connection, tenant_id)
                if await store.digests_of(connection, tenant_id, first, last) != before:
                    raise DaysChanged
                for day in right:
                    await connection.execute(SQL.clear_quarters, tenant_id, day)
                await connection.execute(SQL.swap_in, tenant_id, rebuild_id)
                await connection.execute(SQL.remember_events, tenant_id, CONSUMER, covered)
                # A zone's day begins at most a day off UTC's.
                await store.recount_days(connection, tenant_id, first - DAY, last + DAY)
                await announce_reached_limits(connection, tenant_id)
        finally:
            async with tenant_transaction(self.pool, tenant_id) as connection:
                await connection.execute(SQL.drop_shadow, tenant_id, rebuild_id)
        done.days = len(right)
        done.changed = sum(before.get(day, Digest()) != digest for day, digest in right.items())
        done.activities = sum(digest.activity_count for digest in right.values())

    async def _fill(self, tenant_id: UUID, rebuild_id: UUID, day: date, digest: Digest) -> None:
        counted = Digest()
        async with aclosing(self.log.count_day(tenant_id, day)) as messages:
            async for counts in messages:
                counted = _more(counted, counts)
                async with tenant_transaction(self.pool, tenant_id) as connection:
                    await store.write_shadow(connection, tenant_id, rebuild_id, day, counts)
        if counted != digest:
            raise DaysChanged


def _more(before: Digest, counts: Sequence[activity_pb.ActionCount]) -> Digest:
    """Return the fingerprint that further counts add up to."""
    total = sum(each.activity_count for each in counts)
    digest = sum((Decimal(each.digest) for each in counts), Decimal(0))
    return Digest(before.activity_count + total, before.digest + digest)
