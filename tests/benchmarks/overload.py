"""What is left of a service's work when three times as much is asked of it as it can do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prospect.activity.v1 import activity_service_pb2 as pb

from tests.benchmarks.activity import Bench, Metadata, bench, entries
from tests.benchmarks.report import Benchmark, Result

METHOD = "/prospect.activity.v1.ActivityService/RecordActivities"
ENTRIES = 100
TENANTS = 4
CALLERS = 16
PEAK_SECONDS, OVERLOAD_SECONDS = 6.0, 15.0
OVERLOAD = 3.0
DEADLINE_SECONDS = 2.0
PROBE_SECONDS = 0.2
MAX_MEMORY_MB = 512


@dataclass
class Load:
    """A batch that several tenants send, and how often it was recorded before its deadline."""

    record_batch: Any
    batch: bytes
    callers: Sequence[Metadata]
    begun: int = 0
    recorded: int = 0

    async def record(self) -> None:
        """Record the batch for the next tenant."""
        self.begun += 1
        metadata = self.callers[self.begun % len(self.callers)]
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self.record_batch(self.batch, metadata=metadata, timeout=DEADLINE_SECONDS)
            self.recorded += 1


def a_batch() -> bytes:
    """Return a request whose entries are new each time: the service gives them their ids."""
    new = entries(ENTRIES)
    for each in new:
        each.activity_id = ""
    return pb.RecordActivitiesRequest(activities=new).SerializeToString()


class Cost:
    """Batches recorded for each second of processor that service and PostgreSQL use.

    What makes the calls takes its part of the same processors, and is no cost of the service.
    """

    def __init__(self, at: Bench, load: Load) -> None:
        stack = at.stack
        pids = stack.processes["activity"].pid, stack.postgres.process.pid
        self._roots = [psutil.Process(pid) for pid in pids]
        self._load = load
        self._used, self._recorded = self._seconds(), load.recorded

    def batches_a_second(self) -> float:
        """Return what was recorded since the last time, by the seconds used since then."""
        used, recorded = self._seconds(), self._load.recorded
        before, self._used = self._used, used
        count, self._recorded = recorded - self._recorded, recorded
        return count / (used - before)

    def _seconds(self) -> float:
        seconds = 0.0
        for root in self._roots:
            ended = root.cpu_times()
            seconds += ended.children_user + ended.children_system
            for each in (root, *root.children()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    used = each.cpu_times()
                    seconds += used.user + used.system
        return seconds


class Watch:
    """Asks for the health and looks at the memory, in a thread of its own."""

    def __init__(self, at: Bench) -> None:
        self._address = at.stack.addresses["activity"]
        self._process = psutil.Process(at.stack.processes["activity"].pid)
        self._stop = threading.Event()
        self.slowest = 0.0
        self.most_mb = 0.0

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(PROBE_SECONDS):
            begun = time.monotonic()
            # As a probe of Kubernetes: on a connection of its own.
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(self._address, options) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                stub.Check(health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.most_mb = max(self.most_mb, self._process.memory_info().rss / 1_000_000)


async def at_most(seconds: float, load: Load) -> float:
    """Record by a few callers, each after its answer; return the batches a second."""
    end = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < end:
            await load.record()

    begun, before = time.monotonic(), load.recorded
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (load.recorded - before) / (time.monotonic() - begun)


async def at_rate(rate: float, load: Load, stop: asyncio.Event) -> None:
    """Begin so many calls a second, whatever becomes of them."""
    calls: set[asyncio.Task[None]] = set()
    begun, started = time.monotonic(), 0
    while not stop.is_set():
        while started < (time.monotonic() - begun) * rate:
            started += 1
            call = asyncio.create_task(load.record())
            calls.add(call)
            call.add_done_callback(calls.discard)
        await asyncio.sleep(0.005)
    await asyncio.gather(*calls)


async def goodput_at(rate: float, load: Load) -> float:
    """Return the batches a second that are recorded in time, once the overload has lasted."""
    stop = asyncio.Event()
    asking = asyncio.create_task(at_rate(rate, load, stop))
    await asyncio.sleep(2 * DEADLINE_SECONDS)
    begun, before = time.monotonic(), load.recorded
    await asyncio.sleep(OVERLOAD_SECONDS)
    goodput = (load.recorded - before) / (time.monotonic() - begun)
    stop.set()
    await asking
    return goodput


async def overload() -> AsyncIterator[Result]:
    """Batches at three times the rate that the service can record, with a deadline each."""
    async with bench() as at, grpc.aio.insecure_channel(at.stack.addresses["activity"]) as channel:
        tokens = [at.stack.token(uuid.uuid4(), uuid.uuid4()) for _ in range(TENANTS)]
        callers = [(("authorization", f"Bearer {token}"),) for token in tokens]
        load = Load(channel.unary_unary(METHOD), a_batch(), callers)
        await at_most(2, load)
        cost = Cost(at, load)
        peak = await at_most(PEAK_SECONDS, load)
        peak_cost = cost.batches_a_second()
        with Watch(at) as watch:
            goodput = await goodput_at(peak * OVERLOAD, load)
        overload_cost = cost.batches_a_second()
    yield Result(
        "overload.goodput_vs_peak", round(goodput, 1), "batches/s", round(peak, 1), goodput / peak,
        "at least 0.8",
    )  # fmt: skip
    yield Result(
        "overload.goodput_by_processor_vs_peak", round(overload_cost, 1), "batches/s of processor",
        round(peak_cost, 1), overload_cost / peak_cost, "at least 0.8",
    )  # fmt: skip
    yield Result("overload.probe_s", round(watch.slowest, 2), "s", 1, watch.slowest, "at most 1")
    yield Result(
        "overload.memory_mb",
        round(watch.most_mb, 1),
        "MB",
        MAX_MEMORY_MB,
        watch.most_mb / MAX_MEMORY_MB,
        "at most 1",
    )


BENCHMARKS: tuple[Benchmark, ...] = (overload,)
