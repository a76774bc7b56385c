"""The roll-up in Postgres; functions take a connection in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as activity_pb

from chassis.database import Connection, Pool, tenant_transaction
from chassis.transient import RetryLater
from services.metrics.counters import NEW_LIST
from services.metrics.sql import SQL

EARLIEST_DAY, LATEST_DAY = date(1, 1, 2), date(9999, 12, 30)


@dataclass(frozen=True, slots=True)
class Digest:
    """A fingerprint of a tenant's day; equal ones mean equal sets of activities."""

    activity_count: int = 0
    digest: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """How log and roll-up compared on one tenant's UTC day."""

    outcome: str
    log: Digest
    rollup: Digest
    finding_count: int = 0
    findings: Sequence[dict[str, Any]] = ()
    """The first of them."""


class NewerVersionNeeded(RetryLater):
    """Only a newer version of metrics knows what is counted here: one of its replicas does this."""


@asynccontextmanager
async def rework(pool: Pool, tenant_id: UUID) -> AsyncIterator[Connection]:
    """Open a transaction that rewrites what is counted.

    A replica that does not know a counter would lose what a newer one has counted in it. Then the
    total of a row is no longer the sum of its counters, which the tables refuse.
    """
    try:
        async with tenant_transaction(pool, tenant_id) as connection:
            yield connection
    except asyncpg.CheckViolationError as error:
        adds_up = (error.constraint_name or "").endswith("_adds_up")
        if adds_up and await pool.fetchval(SQL.has_newer_counters):
            raise NewerVersionNeeded("a newer version of metrics counted this") from error
        raise


def user_hash(tenant_id: UUID, user_id: UUID) -> bytes:
    """Return what an erased user is remembered by, as metrics.user_hash does."""
    return hashlib.sha256(tenant_id.bytes + user_id.bytes).digest()


async def lock_rework(connection: Connection, tenant_id: UUID) -> None:
    """Keep others from rewriting the tenant's rows until the transaction ends; counting goes on."""
    await connection.execute(SQL.lock_rework, tenant_id)


async def lock_exclusive(connection: Connection, tenant_id: UUID) -> None:
    """Keep others from counting for the tenant until the transaction ends."""
    await connection.execute(SQL.lock_exclusive, tenant_id)


async def time_zone(connection: Connection, tenant_id: UUID) -> str:
    """Return the zone in which the tenant's days begin."""
    return str(await connection.fetchval(SQL.time_zone, tenant_id))


async def totals(
    connection: Connection, tenant_id: UUID, first: date, last: date
) -> tuple[str, dict[date, asyncpg.Record]]:
    """Return the tenant's zone, and the totals of the days with activity between two."""
    rows = await connection.fetch(SQL.totals, tenant_id, first, last)
    return rows[0]["time_zone"], {row["date"]: row for row in rows if row["date"]}


async def recount_days(connection: Connection, tenant_id: UUID, first: date, last: date) -> None:
    """Count local days, totals and quotas again from quarter-hours; needs the exclusive lock."""
    zone = await time_zone(connection, tenant_id)
    await connection.execute(SQL.clear_days, tenant_id, first, last)
    await connection.execute(SQL.recount_days, tenant_id, first, last, zone)
    await recount_sums(connection, tenant_id, first, last)


async def recount_sums(connection: Connection, tenant_id: UUID, first: date, last: date) -> None:
    """Count totals and quotas again from the days; needs the exclusive lock."""
    await connection.execute(SQL.clear_totals, tenant_id, first, last)
    await connection.execute(SQL.recount_totals, tenant_id, first, last)
    await connection.execute(SQL.clear_quota_usage, tenant_id)
    await connection.execute(SQL.recount_quotas, tenant_id)


async def day_digests(connection: Connection, day: date) -> dict[UUID, Digest]:
    """Return each tenant's fingerprint of what was counted on a UTC day."""
    rows = await connection.fetch(SQL.day_digests, day)
    return {row["tenant_id"]: Digest(row["activity_count"], row["digest"]) for row in rows}


async def digests_of(
    connection: Connection, tenant_id: UUID, first: date, last: date
) -> dict[date, Digest]:
    """Return one tenant's fingerprints by UTC day."""
    rows = await connection.fetch(SQL.digests_of, tenant_id, first, last)
    return {row["date"]: Digest(row["activity_count"], row["digest"]) for row in rows}


async def write_shadow(
    connection: Connection,
    tenant_id: UUID,
    rebuild_id: UUID,
    day: date,
    counts: Sequence[activity_pb.ActionCount],
) -> None:
    """Add some of the log's counts of a UTC day to a shadow of the roll-up."""
    await connection.execute(
        SQL.write_shadow,
        tenant_id,
        rebuild_id,
        day,
        [each.quarter_hour for each in counts],
        [each.user_id for each in counts],
        [NEW_LIST if each.new_list else each.action_type for each in counts],
        [each.activity_count for each in counts],
        [Decimal(each.digest) for each in counts],
    )


async def note_reconciliation(
    connection: Connection, tenant_id: UUID, day: date, found: Reconciliation
) -> None:
    """Store how log and roll-up compared."""
    await connection.execute(SQL.lock_shared, tenant_id)
    await connection.execute(
        SQL.note_reconciliation,
        tenant_id,
        day,
        found.outcome,
        found.log.activity_count,
        found.rollup.activity_count,
        found.log.digest,
        found.rollup.digest,
        found.finding_count,
        json.dumps(found.findings),
    )
