"""How fast runs are driven, against DBOS, plain SQL and the sources themselves."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from chassis.migrate import migrate
from devstack import servers
from devstack.stack import ROOT
from services.enrichment.policy.policy import Policy
from services.enrichment.run.state import Turn
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker.store import LeasedRun
from tests.benchmarks import enrichment_http
from tests.benchmarks.plain_runs import plain_runs_per_second
from tests.benchmarks.report import Benchmark, Result, ratio_of
from tests.enrichment.engine import ADA, COST, Engine, Sources, engine, finding

ROUNDS = 3
LATENCY_ROUNDS = 7
RUNS = 2_000
DBOS_RUNS = 300
IN_FLIGHT = 128
OTHERS_IN_FLIGHT = 32
"""DBOS and the bare loop are faster with 32 in flight than with 128."""
SOURCE_LATENCY_SECONDS = 0.2
PERSON = replace(ADA, email="ada@engines.example")
DBOS = ROOT / "build" / "dbos" / "bin" / "python"


@dataclass
class Bench:
    """An engine on durable servers of its own, and who waits for its runs."""

    dsn: str
    engine: Engine
    sources: Sources
    ends: dict[uuid.UUID, asyncio.Future[None]]

    async def run(self) -> float:
        """Take a request in and wait until its run's end is committed; return the seconds."""
        started = time.perf_counter()
        accepted = await self.engine.accept(PERSON, is_new=True)
        await self.ends.setdefault(accepted.run_id, asyncio.Future())
        del self.ends[accepted.run_id]
        return time.perf_counter() - started

    async def runs(self, number: int, in_flight: int) -> float:
        """Return the runs a second, with so many in flight."""
        room = asyncio.Semaphore(in_flight)

        async def one() -> None:
            async with room:
                await self.run()

        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(number)))
        return number / (time.perf_counter() - started)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Yield an engine whose sources answer at once; PostgreSQL waits for the disk."""
    with (
        tempfile.TemporaryDirectory(prefix="prospect-bench-") as folder,
        servers.postgres(Path(folder) / "postgres") as postgres,
        servers.nats_server(Path(folder) / "nats") as server,
    ):
        await migrate(postgres.dsn(), "enrichment", ROOT / "services" / "enrichment")
        sources = Sources(answers={SourceName.CONTACTOUT: _known_by_name})
        policy = Policy(most_runs_at_once=1_000)
        async with engine(
            postgres.dsn("enrichment_app"), server.url, sources, policy=policy, most_runs=1_000
        ) as running:
            ours = Bench(postgres.dsn(), running, sources, {})
            _follow(running, ours.ends)
            await ours.runs(300, IN_FLIGHT)
            await _analyze(postgres.dsn())
            yield ours


async def _known_by_name(call: SourceCall) -> Answer:
    """Find nobody by e-mail: ContactOut is asked again, and a run is four calls and a summary."""
    found = None if call.lookup == "email" else finding(SourceName.CONTACTOUT)
    return Answer(found, COST, "request-1")


async def _analyze(dsn: str) -> None:
    """Do what autovacuum does within a minute: without statistics any index looks as good."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("analyze")
    await connection.close()


def _follow(running: Engine, ends: dict[uuid.UUID, asyncio.Future[None]]) -> None:
    """Learn of each run's end when it is committed, as DBOS tells its own process."""
    take_turn = running.writer.take_turn

    async def follow(run: LeasedRun, *values: Any) -> Turn:
        turn = await take_turn(run, *values)
        if turn.finish:
            ends.setdefault(run.lease.run_id, asyncio.Future()).set_result(None)
        return turn

    running.writer.take_turn = follow  # type: ignore[method-assign, assignment]


async def against_dbos() -> AsyncIterator[Result]:
    """Runs whose sources answer at once, in turns with DBOS on the same PostgreSQL."""
    rounds = []
    async with bench() as ours:
        for _ in range(ROUNDS):
            theirs = await _dbos(ours.dsn, DBOS_RUNS)
            rounds.append((await ours.runs(RUNS, IN_FLIGHT), theirs["runs_per_second"]))
    yield ratio_of("enrichment.runs_vs_dbos", "runs/s", "7 or more, aim 10", rounds)


async def one_at_a_time() -> AsyncIterator[Result]:
    """The latency of a run at rest, in turns with DBOS: no run of many leaves work behind."""
    rounds = []
    async with bench() as ours:
        for _ in range(LATENCY_ROUNDS):
            theirs = await _dbos(ours.dsn, 0)
            for _ in range(10):
                await ours.run()
            alone = median([await ours.run() for _ in range(50)]) * 1000
            rounds.append((alone, theirs["latency_ms"]))
    yield ratio_of("enrichment.latency_vs_dbos", "ms", "0.6 or less", rounds)


async def _dbos(dsn: str, runs: int) -> dict[str, float]:
    script = str(Path(__file__).with_name("dbos_runs.py"))
    process = await asyncio.create_subprocess_exec(
        str(DBOS), script, dsn, str(runs), str(OTHERS_IN_FLIGHT), stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    answer: dict[str, float] = json.loads(out)
    return answer


async def against_plain_sql() -> AsyncIterator[Result]:
    """The same rows written by a bare asyncpg loop, with as many in flight and as many commits."""
    rounds = []
    async with bench() as ours:
        for _ in range(ROUNDS):
            plain = await plain_runs_per_second(ours.dsn, RUNS, OTHERS_IN_FLIGHT)
            rounds.append((await ours.runs(RUNS, IN_FLIGHT), plain))
    yield ratio_of("enrichment.runs_vs_plain_sql", "runs/s", "0.4 or more", rounds)


BENCHMARKS: tuple[Benchmark, ...] = (
    one_at_a_time,
    against_dbos,
    against_plain_sql,
    enrichment_http.against_slowest_source,
    enrichment_http.memory_of_many,
)
