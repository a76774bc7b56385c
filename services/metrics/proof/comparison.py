"""Comparing a UTC day of the roll-up with the log, by user: what differs, in which direction."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.database import Pool, tenant_snapshot
from services.metrics.counters import ACTION_COUNTERS
from services.metrics.proof.rebuild import Log, LogDigest, Rebuilder
from services.metrics.sql import ANONYMOUS, SQL
from services.metrics.store import Digest, user_hash

UNEVEN_DAY = "the day is not the sum of its quarter-hours: it was written past the service"
UNEVEN_TOTAL = "the total is not the sum of the users' days: it was written past the service"
UNEVEN_QUOTA = (
    "what is used of {} by {} is not the sum of its days: it was written past the service"
)
ROWS = 1_000
NOTHING: Counter[str] = Counter()
Sums = tuple[UUID, Counter[str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference; without a user it is the tenant's."""

    kind: pb.UsageFindingKind.ValueType
    tenant_id: UUID
    user_id: UUID | None
    date: date
    log_count: int
    rollup_count: int
    reason: str

    def record(self) -> dict[str, Any]:
        """Return what is stored of it."""
        return {
            "user_id": str(self.user_id or ""),
            "date": self.date.isoformat(),
            "log_count": self.log_count,
            "rollup_count": self.rollup_count,
            "reason": self.reason,
        }


async def uneven_days(pool: Pool, day: date) -> list[Difference]:
    """Return the local days and totals of a date that are not the sums that they should be."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(SQL.uneven_days, day)
    return [
        Difference(
            pb.USAGE_FINDING_KIND_DAYS,
            row["tenant_id"],
            row["user_id"],
            row["date"],
            row["right_count"],
            row["day_count"],
            UNEVEN_DAY if row["user_id"] else UNEVEN_TOTAL,
        )
        for row in rows
    ]


def uneven_quotas(
    tenant_id: UUID, before: Sequence[asyncpg.Record], after: Sequence[asyncpg.Record]
) -> list[Difference]:
    """Return the periods of quotas whose stored use is not the sum of their days."""
    wrong, right = [
        {(row["period_start"], row["counter"], row["period"]): row["used"] for row in rows}
        for rows in (before, after)
    ]
    return [
        Difference(
            pb.USAGE_FINDING_KIND_DAYS, tenant_id, None, start, right.get(key, 0),
            wrong.get(key, 0), UNEVEN_QUOTA.format(counter, period),
        )
        for key in sorted(right.keys() | wrong.keys())
        for start, counter, period in [key]
        if right.get(key) != wrong.get(key)
    ]  # fmt: skip


async def moved_since(log: Log, day: date, before: Mapping[UUID, LogDigest]) -> set[UUID]:
    """Return the tenants whose day in the log is not what it was `before`.

    For the others what was read of the roll-up in between is comparable: it cannot hold anything
    that the log had not.
    """
    after, nothing = await log.day_digests(day) or {}, LogDigest(Digest())
    return {
        tenant_id
        for tenant_id in before.keys() | after.keys()
        if before.get(tenant_id, nothing).digest != after.get(tenant_id, nothing).digest
    }


async def differing_users(
    rebuilder: Rebuilder, tenant_id: UUID, day: date
) -> AsyncGenerator[Difference]:
    """Yield the users whose counters or digests differ on a UTC day, in order, anonymous last.

    Both sides come in the order of users and are compared as they come: a day of many users is
    never in memory as a whole.
    """
    async with (
        aclosing(rebuilder.log.count_day(tenant_id, day)) as messages,
        tenant_snapshot(rebuilder.pool, tenant_id) as connection,
    ):
        rows = await connection.fetch(SQL.erased_users, tenant_id)
        erased = {bytes(row["user_hash"]) for row in rows}
        ours = connection.cursor(SQL.day_by_user, tenant_id, day, prefetch=ROWS)
        log, rollup = (
            Counter[str](),
            Counter[str](),
        )  # of the anonymous user, with all who were erased
        async for user, right, counted in _pairs(_by_user(messages), _by_row(aiter(ours))):
            is_erased = user == ANONYMOUS or user_hash(tenant_id, user) in erased
            log.update(right if is_erased else NOTHING)
            theirs = NOTHING if is_erased else right
            if user == ANONYMOUS:
                rollup = counted
            elif theirs != counted:
                yield _difference(tenant_id, user, day, theirs, counted)
        if log != rollup:
            yield _difference(tenant_id, ANONYMOUS, day, log, rollup)


async def _pairs(
    log: AsyncIterator[Sums], rollup: AsyncIterator[Sums]
) -> AsyncIterator[tuple[UUID, Counter[str], Counter[str]]]:
    """Yield each user with the sums of both sides; empty where a side has none."""
    theirs, ours = await anext(log, None), await anext(rollup, None)
    while sides := [each for each in (theirs, ours) if each]:
        user = min(each[0] for each in sides)
        right = counted = NOTHING
        if theirs and theirs[0] == user:
            right, theirs = theirs[1], await anext(log, None)
        if ours and ours[0] == user:
            counted, ours = ours[1], await anext(rollup, None)
        yield user, right, counted


async def _by_row(rows: AsyncIterator[asyncpg.Record]) -> AsyncIterator[Sums]:
    async for row in rows:
        counters = {name: int(value) for name, value in row.items() if name != "user_id"}
        yield row["user_id"], Counter(counters)


async def _by_user(
    messages: AsyncIterator[Sequence[activity_pb.ActionCount]],
) -> AsyncIterator[Sums]:
    """Sum up the counts of each user, which arrive one after the other."""
    user, sums = "", Counter[str]()
    async for counts in messages:
        for each in counts:
            if user and each.user_id != user:
                yield UUID(user), sums
                sums = Counter[str]()
            user = each.user_id
            sums[ACTION_COUNTERS[each.action_type]] += each.activity_count
            sums["lists_created"] += each.activity_count if each.new_list else 0
            sums["total_activities"] += each.activity_count
            sums["digest"] += int(each.digest)
    if user:
        yield UUID(user), sums


def _difference(
    tenant_id: UUID, user: UUID, day: date, log: Counter[str], rollup: Counter[str]
) -> Difference:
    theirs, ours = log["total_activities"], rollup["total_activities"]
    if ours < theirs:
        kind, reason = pb.USAGE_FINDING_KIND_MISSING, f"the roll-up lacks {theirs - ours}"
    elif ours > theirs:
        kind, reason = pb.USAGE_FINDING_KIND_EXCESS, f"the roll-up has {ours - theirs} too many"
    else:
        kind, reason = pb.USAGE_FINDING_KIND_DIFFERENT, "as many, and not the same ones"
    if log["digest"] == rollup["digest"]:
        reason += "; the digest is right, so a counter was written past the service"
    return Difference(kind, tenant_id, user, day, theirs, ours, reason)
