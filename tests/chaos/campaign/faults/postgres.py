"""PostgreSQL dies, fails over, refuses, is full or is migrated."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from chassis.clock import new_id
from devstack.stack import migrate_all
from tests.chaos.campaign.cluster import Cluster
from tests.chaos.campaign.faults.table import fault
from tests.chaos.killing import fetch

SESSIONS = "from pg_stat_activity where usename like '%\\_app' or usename like '%\\_relay'"

GROWING = ("activity.activity_log", "activity.outbox", "enrichment.attempts", "metrics.inbox")
FULL = """
create or replace function public.no_room() returns trigger language plpgsql as $$
begin
  raise exception 'could not extend file: No space left on device' using errcode = 'disk_full';
end $$;
create trigger no_room before insert on {table}
  for each statement execute function public.no_room();
"""


@fault((0, 4))
async def postgres_is_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    await asyncio.to_thread(cluster.kill_postgres)
    yield
    await asyncio.to_thread(cluster.start_postgres)


@fault()
async def postgres_fails_over(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    standby = await asyncio.to_thread(cluster.start_standby)
    # Whatever is acknowledged from now on has reached both.
    await _sql(cluster, "alter system set synchronous_standby_names = '*'")
    await _sql(cluster, "select pg_reload_conf()")
    await _until(cluster, "select from pg_stat_replication where sync_state = 'sync'")
    await asyncio.sleep(1)  # each backend reads its configuration before its next statement
    await asyncio.to_thread(cluster.fail_over, standby)
    await _sql(cluster, "select pg_promote()")
    yield


@fault((2, 12))
async def postgres_is_frozen(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    cluster.signal_postgres(signal.SIGSTOP)
    yield
    cluster.signal_postgres(signal.SIGCONT)


@fault()
async def backends_are_ended(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    await _sql(cluster, f"select pg_terminate_backend(pid) {SESSIONS}")
    yield


@fault((1, 4))
async def statements_are_cancelled(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    for _ in range(20):
        await _sql(cluster, f"select pg_cancel_backend(pid) {SESSIONS}")
        await asyncio.sleep(0.05)
    yield


@fault((2, 6))
async def postgres_is_read_only(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _configured(cluster, "default_transaction_read_only", "on"):
        yield


@fault((2, 6))
async def statements_time_out(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _configured(cluster, "statement_timeout", "'1ms'"):
        yield


@fault((2, 6))
async def commits_need_no_disk(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _configured(cluster, "synchronous_commit", "off"):
        yield
        await asyncio.to_thread(cluster.kill_postgres)
        await asyncio.to_thread(cluster.start_postgres)


@fault((2, 6))
async def postgres_has_no_room(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    """What a full disk makes of a statement; of the log that it writes first it makes a crash."""
    for table in GROWING:
        await _sql(cluster, FULL.format(table=table))
    yield
    await _sql(cluster, "drop function public.no_room cascade")


@fault((2, 6))
async def connections_are_used_up(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    held = []
    with suppress(asyncpg.PostgresError, OSError):
        while True:
            dsn = cluster.postgres.dsn(dice.choice(("activity_app", "metrics_app")))
            held.append(await asyncpg.connect(dsn))
    yield
    for connection in held:
        connection.terminate()


@fault((2, 6))
async def a_role_may_not_log_in(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    role = f"{dice.choice(('activity', 'enrichment', 'metrics'))}_app"
    await _sql(cluster, f"alter role {role} nologin")
    await _sql(cluster, f"select pg_terminate_backend(pid) {SESSIONS}")
    yield
    await _sql(cluster, f"alter role {role} login")


@fault()
async def a_newer_release_migrates(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    column = f"newer_{new_id().hex[:12]}"
    tables = ("activity.activity_log", "enrichment.runs", "metrics.usage_metrics_daily")
    with suppress(asyncpg.PostgresError):
        await _sql(
            cluster, f"set lock_timeout = '2s'; alter table {dice.choice(tables)} add {column} text"
        )
    await asyncio.to_thread(migrate_all, cluster.postgres.dsn())
    yield


@asynccontextmanager
async def _configured(cluster: Cluster, name: str, value: str) -> AsyncIterator[None]:
    await _sql(cluster, f"alter database postgres set {name} = {value}")
    await _sql(cluster, f"select pg_terminate_backend(pid) {SESSIONS}")
    yield
    await _sql(cluster, f"set {name} = default; alter database postgres reset {name}")
    await _sql(cluster, f"select pg_terminate_backend(pid) {SESSIONS}")


async def _until(cluster: Cluster, sql: str) -> None:
    """Wait until a statement returns a row."""
    async with asyncio.timeout(30):
        while not await fetch(cluster.stack, sql):
            await asyncio.sleep(0.1)


async def _sql(cluster: Cluster, sql: str) -> None:
    """Run statements as the superuser, past what an earlier fault has set for everybody."""
    connection = await asyncpg.connect(cluster.postgres.dsn(), timeout=30)
    try:
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute("set statement_timeout = 0")
        await connection.execute(sql)
    finally:
        await connection.close()
