"""The faults of a campaign: one function each, which breaks something for as long as it is held."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
import httpx
import nats
import nats.errors
import nats.js.errors
from nats.js.manager import JetStreamManager

from chassis.clock import new_id
from devstack.stack import migrate_all
from services import topology
from tests.chaos.campaign.cluster import Broker, Cluster, Replica
from tests.chaos.campaign.links import Link, Mode
from tests.clock import SHIFT, found_by_subprocesses

Held = AbstractAsyncContextManager[None]
Strike = Callable[[Cluster, random.Random], AsyncIterator[None]]
VENDOR_FAULTS = (
    ("contactout", "status", 503), ("contactout", "hang", None), ("contactout", "lost", None),
    ("exa", "retry_after", 2), ("exa", "cut", None), ("exa", "malformed", None),
    ("sec", "status", 500), ("sec", "html", None), ("claude", "status", 529),
    ("claude", "truncate", None), ("claude", "hang", None),
)  # fmt: skip
CLOCK_SECONDS = (-300.0, 300.0)
CONSUMERS = [each for part in topology.SERVICES.values() for each in part.consumers]
SESSIONS = "from pg_stat_activity where usename like '%\\_app' or usename like '%\\_relay'"


@dataclass(frozen=True, slots=True)
class Fault:
    """What a fault is called, how it is made, and for how many seconds it is held."""

    name: str
    strike: Callable[[Cluster, random.Random], Held]
    seconds: tuple[float, float]


FAULTS: list[Fault] = []


def fault(seconds: tuple[float, float] = (0, 0)) -> Callable[[Strike], Strike]:
    """Add a row to the table of faults, named after its function."""

    def add(strike: Strike) -> Strike:
        name = strike.__name__.replace("_", " ")
        FAULTS.append(Fault(name, asynccontextmanager(strike), seconds))
        return strike

    return add


def drawn_from(names: Sequence[str]) -> list[Fault]:
    """Return the faults whose names contain one of these, or all."""
    return [each for each in FAULTS if not names or any(name in each.name for name in names)]


def _any_replica(cluster: Cluster, dice: random.Random) -> Replica:
    return dice.choice(list(cluster.replicas.values()))


@fault()
async def a_replica_is_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    _send(_any_replica(cluster, dice), signal.SIGKILL)
    yield


@fault()
async def a_replica_is_stopped(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    _send(_any_replica(cluster, dice), signal.SIGTERM)
    yield


@fault((2, 15))
async def a_replica_is_frozen(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    replica = _any_replica(cluster, dice)
    _send(replica, signal.SIGSTOP)
    yield
    _send(replica, signal.SIGCONT)


@fault((0, 1))
async def replicas_are_restarted_in_turn(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    for replica in list(cluster.replicas.values()):
        before = replica.running
        _send(replica, signal.SIGTERM)
        await cluster.started_again(replica, before)
    yield


@fault((5, 15))
async def a_replica_has_another_time(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    replica = _any_replica(cluster, dice)
    given = dict(replica.environment)
    replica.environment |= {
        SHIFT: str(dice.choice(CLOCK_SECONDS)),
        "PYTHONPATH": ":".join(found_by_subprocesses()),
    }
    _send(replica, signal.SIGKILL)
    yield
    replica.environment = given
    _send(replica, signal.SIGKILL)


@fault((3, 15))
async def the_way_to_postgres_is_silent(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    async with _broken([_any_replica(cluster, dice).postgres], Mode.SILENT, dice):
        yield


@fault((2, 8))
async def the_way_to_postgres_is_slow(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _broken([_any_replica(cluster, dice).postgres], Mode.SLOW, dice):
        yield


@fault((2, 8))
async def postgres_cannot_be_dialled(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _broken([_any_replica(cluster, dice).postgres], Mode.REFUSE, dice):
        yield


@fault()
async def connections_to_postgres_are_reset(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    for replica in cluster.replicas.values():
        replica.postgres.reset()
    yield


@fault((3, 15))
async def the_ways_to_brokers_are_silent(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    async with _broken(_any_replica(cluster, dice).brokers, Mode.SILENT, dice):
        yield


@fault((2, 8))
async def no_broker_can_be_dialled(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    links = [link for each in cluster.replicas.values() for link in each.brokers]
    async with _broken(links, Mode.REFUSE, dice):
        yield


@fault()
async def connections_to_brokers_are_reset(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    for link in _any_replica(cluster, dice).brokers:
        link.reset()
    yield


@fault((1, 8))
async def a_broker_is_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _away([dice.choice(cluster.brokers)]):
        yield


@fault((2, 12))
async def a_broker_is_frozen(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    broker = dice.choice(cluster.brokers)
    assert broker.process
    broker.process.send_signal(signal.SIGSTOP)
    yield
    broker.process.send_signal(signal.SIGCONT)


@fault((0, 4))
async def all_brokers_are_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _away(cluster.brokers):
        yield


@fault((0, 3))
async def a_broker_loses_its_disk(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    broker = dice.choice(cluster.brokers)
    async with _away([broker]):
        broker.wipe()
        yield


@fault((0, 3))
async def all_brokers_lose_their_disks(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    async with _away(cluster.brokers):
        for broker in cluster.brokers:
            broker.wipe()
        yield


@fault()
async def a_stream_is_deleted(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    stream = dice.choice(topology.STREAMS)
    await _ask_broker(cluster, lambda manager: manager.delete_stream(stream.name))
    yield


@fault()
async def a_consumer_is_deleted(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    each = dice.choice(CONSUMERS)
    await _ask_broker(cluster, lambda manager: manager.delete_consumer(each.stream, each.name))
    yield


@fault((0, 4))
async def postgres_is_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    await asyncio.to_thread(cluster.kill_postgres)
    yield
    await asyncio.to_thread(cluster.start_postgres)


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


@fault((0, 2))
async def vendors_misbehave(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=cluster.sandbox_url) as sandbox:
        for source, kind, value in dice.sample(VENDOR_FAULTS, 4):
            order = {"source": source, "kind": kind, "value": value, "times": dice.randint(1, 4)}
            answer = await sandbox.post("/_sandbox/faults", json=order)
            assert answer.status_code == 201, answer.text
    yield


def _send(replica: Replica, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        replica.running.send_signal(number)


@asynccontextmanager
async def _broken(links: Sequence[Link], mode: Mode, dice: random.Random) -> AsyncIterator[None]:
    """Break links, then have them pass again, with their connections or after a reset."""
    for link in links:
        await link.become(mode)
    cut = dice.random() < 0.5
    yield
    for link in links:
        if cut:
            link.reset()
        await link.become(Mode.PASS)


@asynccontextmanager
async def _away(brokers: Sequence[Broker]) -> AsyncIterator[None]:
    for broker in brokers:
        await asyncio.to_thread(broker.stop)
    yield
    for broker in brokers:
        await asyncio.to_thread(broker.start)


@asynccontextmanager
async def _configured(cluster: Cluster, name: str, value: str) -> AsyncIterator[None]:
    await _sql(cluster, f"alter database postgres set {name} = {value}")
    await _sql(cluster, f"select pg_terminate_backend(pid) {SESSIONS}")
    yield
    await _sql(cluster, f"set {name} = default; alter database postgres reset {name}")
    await _sql(cluster, f"select pg_terminate_backend(pid) {SESSIONS}")


async def _ask_broker(
    cluster: Cluster, ask: Callable[[JetStreamManager], Awaitable[object]]
) -> None:
    """Ask whichever broker answers; one that cannot do it now spares us the fault."""
    with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError):
        client = await nats.connect(cluster.stack.nats_url.split(","), max_reconnect_attempts=1)
        try:
            await ask(client.jsm())
        finally:
            await client.close()


async def _sql(cluster: Cluster, sql: str) -> None:
    """Run statements as the superuser, past what an earlier fault has set for everybody."""
    connection = await asyncpg.connect(cluster.postgres.dsn(), timeout=30)
    try:
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute("set statement_timeout = 0")
        await connection.execute(sql)
    finally:
        await connection.close()
