"""What the services hold: memory, tasks, connections and transactions, before and after."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import psutil

from devstack.stack import Stack

RELEASE_SECONDS = 30.0
MORE_MEMORY = 150 * 1024 * 1024
"""What a service may have grown by: caches and the allocator's free memory, but no requests."""
MORE_TASKS = 20
OPEN_TRANSACTIONS = """
select coalesce(usename, '') || ': ' || left(query, 60) as what from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
  and state like 'idle in transaction%' and now() - state_change > interval '5 seconds'
"""
CONNECTIONS = """
select usename as service, count(*) as held from pg_stat_activity
where usename is not null and pid <> pg_backend_pid() group by 1
"""


@dataclass(frozen=True, slots=True)
class Held:
    """Of each service its resident bytes, its asyncio tasks and its connections to Postgres."""

    memory: Mapping[str, int]
    tasks: Mapping[str, int]
    connections: Mapping[str, int]

    def leaks_until(self, after: Held) -> list[str]:
        """Return what has grown by more than work that has ended may leave."""
        bounds: list[tuple[str, Mapping[str, int], Mapping[str, int], int]] = [
            ("bytes", self.memory, after.memory, MORE_MEMORY),
            ("tasks", self.tasks, after.tasks, MORE_TASKS),
        ]
        return [
            f"{name} holds {now[name] - before[name]:,} {what} more than before"
            for what, before, now, limit in bounds
            for name in before
            if now[name] - before[name] > limit
        ]


async def measure(stack: Stack, metrics: Mapping[str, str]) -> Held:
    """Measure; `metrics` has where each service shows its own."""
    memory = {
        name: psutil.Process(process.pid).memory_info().rss
        for name, process in stack.processes.items()
        if name in metrics
    }
    async with httpx.AsyncClient(timeout=10) as client:
        pages = {name: (await client.get(url)).text for name, url in metrics.items()}
    tasks = {name: _value(page, "prospect_tasks") for name, page in pages.items()}
    rows = await _fetch(stack, CONNECTIONS)
    return Held(memory, tasks, {row["service"]: row["held"] for row in rows})


async def leaked(stack: Stack, metrics: Mapping[str, str], before: Held) -> tuple[Held, list[str]]:
    """Wait until what calls held is released; return what is held then, and what has leaked."""
    for _ in range(int(RELEASE_SECONDS)):
        after = await measure(stack, metrics)
        leaks = before.leaks_until(after)
        leaks += [
            f"open transaction of {row['what']}" for row in await _fetch(stack, OPEN_TRANSACTIONS)
        ]
        if not leaks:
            break
        await asyncio.sleep(1)
    return after, leaks


def _value(page: str, name: str) -> int:
    found = re.search(rf"^{name} ([0-9.e+]+)$", page, re.M)
    assert found, f"the service does not show {name}"
    return int(float(found[1]))


async def _fetch(stack: Stack, sql: str) -> list[Any]:
    connection = await asyncpg.connect(stack.postgres.dsn())
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()
