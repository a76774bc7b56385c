"""Comparing a UTC day of the roll-up with the log, by user: what differs, in which direction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.database import Pool, tenant_transaction
from services.metrics.rebuilding import Log, LogDigest, Rebuilder
from services.metrics.store import ACTION_NAMES, ANONYMOUS, SQL, Digest

ACTION_COUNTERS = {
    "login": "total_logins",
    "search_executed": "searches_executed",
    "profile_viewed": "profiles_viewed",
    "profile_enriched": "profiles_enriched",
    "csv_exported": "csv_exports",
    "add_to_list": "list_additions",
    "remove_from_list": "list_removals",
    "status_updated": "statuses_updated",
    "note_added": "notes_added",
    "persona_created": "personas_created",
    "lookalike_search": "lookalike_searches",
}
UNEVEN_DAY = "the day is not the sum of its quarter-hours: it was written past the service"
UNEVEN_TOTAL = "the total is not the sum of the users' days: it was written past the service"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference; without a user it is the tenant's."""

    kind: pb.UsageFindingKind.ValueType
    tenant_id: UUID
    user_id: UUID | None
    date: date
    log_count: int
    rollup_count: int
    reason: str

    def record(self) -> dict[str, Any]:
        """Return what is remembered of it."""
        return {
            "user_id": str(self.user_id or ""),
            "date": self.date.isoformat(),
            "log_count": self.log_count,
            "rollup_count": self.rollup_count,
            "reason": self.reason,
        }


async def uneven_days(pool: Pool, day: date) -> list[Finding]:
    """Return the local days and totals of a date that are not the sums that they should be."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(SQL.uneven_days, day)
    return [
        Finding(
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


async def differing_users(rebuilder: Rebuilder, tenant_id: UUID, day: date) -> list[Finding]:
    """Return the users whose counters or digests differ on a UTC day."""
    counts = await rebuilder.log.count_day(tenant_id, day)
    async with tenant_transaction(rebuilder.pool, tenant_id) as connection:
        rows = await connection.fetch(SQL.day_by_user, tenant_id, day)
        users = list({each.user_id for each in counts})
        erased = await connection.fetch(SQL.erased_users, tenant_id, users)
    right = _by_user(counts, {row["user_id"] for row in erased})
    ours = {row["user_id"]: _values(row) for row in rows}
    nothing: Counter[str] = Counter()
    pairs = {
        user: (right.get(user, nothing), ours.get(user, nothing))
        for user in sorted(right.keys() | ours.keys())
    }
    return [
        _finding(tenant_id, user, day, log, rollup)
        for user, (log, rollup) in pairs.items()
        if log != rollup
    ]


def _values(row: asyncpg.Record) -> Counter[str]:
    return Counter({name: int(value) for name, value in row.items() if name != "user_id"})


def _by_user(
    counts: Sequence[activity_pb.ActionCount], erased: Collection[UUID]
) -> dict[UUID, Counter[str]]:
    users: dict[UUID, Counter[str]] = {}
    for each in counts:
        user = UUID(each.user_id)
        sums = users.setdefault(ANONYMOUS if user in erased else user, Counter())
        sums[ACTION_COUNTERS[ACTION_NAMES[each.action_type]]] += each.activity_count
        sums["lists_created"] += each.activity_count if each.new_list else 0
        sums["total_activities"] += each.activity_count
        sums["digest"] += int(each.digest)
    return users


def _finding(
    tenant_id: UUID, user: UUID, day: date, log: Counter[str], rollup: Counter[str]
) -> Finding:
    theirs, ours = log["total_activities"], rollup["total_activities"]
    if ours < theirs:
        kind, reason = pb.USAGE_FINDING_KIND_MISSING, f"the roll-up lacks {theirs - ours}"
    elif ours > theirs:
        kind, reason = pb.USAGE_FINDING_KIND_EXCESS, f"the roll-up has {ours - theirs} too many"
    else:
        kind, reason = pb.USAGE_FINDING_KIND_DIFFERENT, "as many, and not the same ones"
    if log["digest"] == rollup["digest"]:
        reason += "; the digest is right, so a counter was written past the service"
    return Finding(kind, tenant_id, user, day, theirs, ours, reason)
