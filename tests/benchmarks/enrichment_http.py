"""What a run takes over HTTP: the real service against sources that answer after a while."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import asyncpg
import grpc
import psutil
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as rpc
from prospect.enrichment.v1 import prospect_pb2, runs_pb2

from devstack.stack import Stack, running
from tests.benchmarks.report import Result, ratio_of

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

ROUNDS = 3
RUNS = 10
LATENCY_MS = 200
RUNS_IN_FLIGHT = 1_000
SLOW_LATENCY_MS = 20_000
NO_LIMITS = {
    "PROSPECT_RUNS_IN_HAND": str(RUNS_IN_FLIGHT),
    "PROSPECT_TENANT_RUNS_IN_HAND": str(RUNS_IN_FLIGHT),
    "PROSPECT_CONTACTOUT_CALLS_PER_SECOND": "0",
    "PROSPECT_EXA_CALLS_PER_SECOND": "0",
    "PROSPECT_CLAUDE_CALLS_PER_SECOND": "0",
    "PROSPECT_CALL_TIMEOUT_SECONDS": "60",
}


@dataclass
class Bench:
    """A running enrichment service with its sandbox, and a caller."""

    stack: Stack
    stub: EnrichmentServiceAsyncStub
    metadata: tuple[tuple[str, str], ...]

    async def request(self) -> prospect_pb2.Run:
        """Ask for somebody new at a private company: ContactOut, Exa and the summary."""
        request = pb.RequestEnrichmentRequest(
            name=f"Ada {uuid.uuid4().hex[:8]}", company="Analytical Engines"
        )
        return (await self.stub.RequestEnrichment(request, metadata=self.metadata)).run

    async def finish(self) -> float:
        """Follow a run from its request to its end; return the seconds."""
        started = time.perf_counter()
        run = await self.request()
        watch = pb.WatchEnrichmentRequest(prospect_id=run.prospect_id)
        async for _ in self.stub.WatchEnrichment(watch, metadata=self.metadata):
            pass
        seconds = time.perf_counter() - started
        request = runs_pb2.GetRunRequest(run_id=run.run_id)
        found = await self.stub.GetRun(request, metadata=self.metadata)
        if found.run.status != prospect_pb2.ENRICHMENT_STATUS_COMPLETE:
            raise RuntimeError(f"the run did not complete: {found.run}")
        return seconds


@asynccontextmanager
async def bench(latency_ms: int) -> AsyncIterator[Bench]:
    """Start PostgreSQL, NATS, the service and its sandbox, as `prospect dev` does."""
    with (
        tempfile.TemporaryDirectory(prefix="prospect-bench-") as folder,
        running(
            Path(folder), services=("enrichment",), latency_ms=latency_ms, extra=NO_LIMITS
        ) as stack,
    ):
        token = stack.token(uuid.uuid4(), uuid.uuid4())
        async with grpc.aio.insecure_channel(stack.addresses["enrichment"]) as channel:
            stub = rpc.EnrichmentServiceStub(channel)
            yield Bench(stack, stub, (("authorization", f"Bearer {token}"),))


async def against_slowest_source() -> AsyncIterator[Result]:
    """From a request to the end its watcher sees, against the slowest source and the summary."""
    rounds = []
    async with bench(LATENCY_MS) as at:
        await at.finish()
        for _ in range(ROUNDS):
            times = [await at.finish() * 1_000 for _ in range(RUNS)]
            rounds.append((median(times), 2.0 * LATENCY_MS))
    yield ratio_of("enrichment.wall_vs_slowest", "ms", "1.15 or less", rounds)


async def memory_of_many() -> AsyncIterator[Result]:
    """What the service's process has with 1,000 runs in flight, their calls out."""
    async with bench(SLOW_LATENCY_MS) as at:
        database = await asyncpg.connect(at.stack.postgres.dsn())
        process = psutil.Process(at.stack.processes["enrichment"].pid)
        before = process.memory_info().rss / 1e6
        await asyncio.gather(*(at.request() for _ in range(RUNS_IN_FLIGHT)))
        out = "select count(distinct run_id) from enrichment.attempts where status = 'started'"
        while await database.fetchval(out) < RUNS_IN_FLIGHT:
            await asyncio.sleep(0.1)
        megabytes = process.memory_info().rss / 1e6
        await database.close()
    yield Result(
        "enrichment.memory_1000_runs_mb",
        round(megabytes, 1),
        "MB",
        round(before, 1),
        round(megabytes / before, 3),
        "value below 400 MB",
    )
