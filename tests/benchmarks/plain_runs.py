"""The limit of a run: its rows, written by a bare asyncpg loop as a superuser, past every rule.

As many commits as a run takes (accept, begin, end an attempt and ask ContactOut otherwise, end the
others and begin the summary, end it and the run), one statement a table and commit, no fence, no
policy, no budget, no row level security.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import asyncpg

from chassis.clock import new_id
from chassis.database import Connection
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import to_json
from tests.enrichment.engine import finding

Calls = tuple[list[str], int]
"""Sources, and which of their attempts it is."""
FIRST: Calls = (["contactout", "exa", "sec"], 1)
OTHERWISE: Calls = (["contactout"], 2)
SUMMARY: Calls = (["claude"], 1)
ALL = ["contactout", "exa", "sec", "claude"]
TABLES = ("prospects", "runs", "steps", "attempts", "ledger", "outbox")
BODY = b"x" * 200
Key = tuple[uuid.UUID, uuid.UUID]
ADD_EVENT = """
insert into plain.outbox (event_id, tenant_id, subject, event_type, source, body, occurred_at)
values ($1, $2, 'prospect.enrich.progressed', 'EnrichmentProgressed', 'plain', $3, now())
"""
ADD_ATTEMPTS = """
insert into plain.attempts (tenant_id, run_id, source, attempt, started_at, reserved_micros)
select $1, $2, unnest($3::text[]), $4, now(), 1000
"""
ADD_MONEY = """
insert into plain.ledger (tenant_id, run_id, source, attempt, kind, amount_micros, created_at)
select $1, $2, s, $4, k, 1000, now() from unnest($3::text[]) s, unnest($5::text[]) k
"""
BEGIN_STEPS = """
update plain.steps set status = 'in_progress', attempts = $4, started_at = now()
where tenant_id = $1 and run_id = $2 and source = any($3::text[])
"""
END_STEPS = """
update plain.steps set status = 'complete', ended_at = now(), cost_micros = 1000
where tenant_id = $1 and run_id = $2 and source = any($3::text[])
"""
END_ATTEMPTS = """
update plain.attempts set status = 'complete', ended_at = now(), cost_micros = 1000
where tenant_id = $1 and run_id = $2 and source = any($3::text[]) and attempt = $4
"""
TOUCH_PROSPECT = """
update plain.runs set version = version + 1, lease_expires_at = now()
where tenant_id = $1 and run_id = $2
"""


async def plain_runs_per_second(dsn: str, runs: int, in_flight: int) -> float:
    """Return how many runs a second a bare loop writes, with so many connections at work."""
    pool = await asyncpg.create_pool(dsn, min_size=in_flight, max_size=in_flight)
    try:
        await _make_tables(pool)
        tenant_id = uuid.uuid4()
        left = iter(range(runs))

        async def work() -> None:
            async with pool.acquire() as connection:
                for _ in left:
                    await _run(connection, tenant_id, new_id(), new_id())

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        return runs / (time.perf_counter() - started)
    finally:
        await pool.close()


async def _make_tables(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    await pool.execute("drop schema if exists plain cascade; create schema plain")
    for table in TABLES:
        await pool.execute(f"create table plain.{table} (like enrichment.{table} including all)")


async def _run(
    connection: Connection,
    tenant_id: uuid.UUID,
    prospect_id: uuid.UUID,
    run_id: uuid.UUID,
) -> None:
    key = (tenant_id, run_id)
    async with connection.transaction():
        await connection.execute(
            "insert into plain.prospects (tenant_id, prospect_id, name, company, run_id)"
            " values ($1, $2, 'Ada Lovelace', 'Analytical Engines', $3)",
            tenant_id, prospect_id, run_id,
        )  # fmt: skip
        await connection.execute(
            "insert into plain.runs (tenant_id, run_id, prospect_id, user_id, deadline_at)"
            " values ($1, $2, $3, $3, now())",
            *key, prospect_id,
        )  # fmt: skip
        await connection.execute(
            "insert into plain.steps (tenant_id, run_id, source)"
            " select $1, $2, unnest($3::text[])",
            *key, ALL,
        )  # fmt: skip
    await _begin(connection, key, FIRST)
    await _end_attempts(connection, key, prospect_id, FIRST, OTHERWISE)
    await _end_attempts(connection, key, prospect_id, OTHERWISE, SUMMARY)
    async with connection.transaction():
        await _end(connection, key, prospect_id, SUMMARY)
        await connection.execute(
            "update plain.runs set status = 'complete', open = false, ended_at = now()"
            " where tenant_id = $1 and run_id = $2",
            *key,
        )
        await connection.execute(ADD_EVENT, new_id(), tenant_id, BODY)


async def _begin(connection: Connection, key: Key, calls: Calls) -> None:
    async with connection.transaction():
        await _start(connection, key, calls)
        await connection.execute(TOUCH_PROSPECT, *key)
        await connection.execute(ADD_EVENT, new_id(), key[0], BODY)


async def _end_attempts(
    connection: Connection, key: Key, prospect_id: uuid.UUID, ended: Calls, begun: Calls
) -> None:
    async with connection.transaction():
        await _end(connection, key, prospect_id, ended)
        await _start(connection, key, begun)
        await connection.execute(TOUCH_PROSPECT, *key)
        await connection.execute(ADD_EVENT, new_id(), key[0], BODY)


async def _start(connection: Connection, key: Key, calls: Calls) -> None:
    await connection.execute(ADD_ATTEMPTS, *key, *calls)
    await connection.execute(ADD_MONEY, *key, *calls, ["reserve"])
    await connection.execute(BEGIN_STEPS, *key, *calls)


async def _end(connection: Connection, key: Key, prospect_id: uuid.UUID, calls: Calls) -> None:
    await connection.execute(END_ATTEMPTS, *key, *calls)
    await connection.execute(ADD_MONEY, *key, *calls, ["settle", "refund"])
    await connection.execute(END_STEPS, *key, calls[0])
    columns = [SOURCES[SourceName(source)].column for source in calls[0]]
    places = ", ".join(f"{column} = ${n}" for n, column in enumerate(columns, 3))
    found = [json.dumps(to_json(finding(SourceName(source)))) for source in calls[0]]
    await connection.execute(
        f"update plain.prospects set {places}, updated_at = now()"
        " where tenant_id = $1 and prospect_id = $2",
        key[0], prospect_id, *found,
    )  # fmt: skip
