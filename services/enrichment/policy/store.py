"""What a tenant allows, in Postgres: its policy, its spending, and its suppression list.

Each function takes a connection in a transaction of the tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from chassis.database import Connection
from services.enrichment.policy.allowance import AllowanceRow
from services.enrichment.policy.policy import Highest, Policy, SourcePolicy
from services.enrichment.policy.suppression import Key
from services.enrichment.sources.catalogue import KNOWN, SourceName
from services.enrichment.sql import SQL


async def read_policy(connection: Connection, tenant_id: UUID, default: Policy) -> Policy:
    """Return a tenant's policy."""
    row = await connection.fetchrow(SQL.read_allowance, tenant_id, date.min)
    return policy_of(row, default)


async def lock_allowance(
    connection: Connection, tenant_id: UUID, day: date, default: Policy
) -> AllowanceRow:
    """Read a tenant's allowance; where it has a budget for the day, lock the day's spending."""
    row = await read_allowance(connection, tenant_id, day, default)
    if row.policy.has_day_budget:
        await connection.fetchval(SQL.lock_day, tenant_id, day)
        row = await read_allowance(connection, tenant_id, day, default)
    return row


async def read_allowance(
    connection: Connection, tenant_id: UUID, day: date, default: Policy
) -> AllowanceRow:
    """Read a tenant's allowance."""
    row = await connection.fetchrow(SQL.read_allowance, tenant_id, day)
    assert row is not None  # noqa: S101 -- the statement always gives a row
    committed = orjson.loads(row["committed"] or "{}")
    return AllowanceRow(policy_of(row, default), committed, row["suppresses"], row["version"])


async def find_suppressed(
    connection: Connection, tenant_id: UUID, keys: Sequence[Key]
) -> frozenset[bytes]:
    """Return which keys are on the tenant's suppression list."""
    hashes = [key.keyed_hash for key in keys]
    rows = await connection.fetch(SQL.find_suppressed, tenant_id, hashes)
    return frozenset(row["keyed_hash"] for row in rows)


def policy_of(row: asyncpg.Record | None, default: Policy) -> Policy:
    """Return a row of policies as a value; the default where the tenant has none."""
    if row is None or row["tenant_id"] is None:
        return default
    sources = {
        SourceName(name): SourcePolicy(
            is_enabled=each["is_enabled"],
            fresh_for=timedelta(seconds=each["fresh_for_seconds"]) or None,
            day_budget_micros=each["day_budget_micros"],
            look_back_days=each.get("look_back_days", 0),  # rows of the version before have none
        )
        for name, each in orjson.loads(row["sources"]).items()
        if name in KNOWN
    }
    made: dict[str, Any] = {"contact_lookups": tuple(row["contact_lookups"]), "sources": sources}
    made |= {"highest": default.highest}
    plain = {name: row[name] for name in Policy.__slots__ if name not in made}
    for name in Highest.__slots__:
        if plain[name] is not None:
            plain[name] = min(plain[name], getattr(default.highest, name))
    plain |= {name: getattr(default, name) for name, value in plain.items() if value is None}
    return Policy(**made, **plain)


async def suppress(
    connection: Connection, tenant_id: UUID, keys: Sequence[Key], reason: str, now: datetime
) -> int:
    """Put keys on the list; return how many are new."""
    hashes, kinds = [key.keyed_hash for key in keys], [key.kind for key in keys]
    rows = await connection.fetch(SQL.suppress, tenant_id, hashes, kinds, reason, now)
    return len(rows)
