"""A run of the fuzzer: a stack of real processes, calls and events by a seed, and the verdict."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import nats

from devstack import servers
from devstack.stack import AUDIT_SCOPES, SERVICES, Stack, running, start_service, wait_serving
from services.cli.operate.services import ServiceName
from tests.fuzz import held
from tests.fuzz.calls import Caller, Metadata
from tests.fuzz.events import Publisher
from tests.fuzz.messages import Generator

WORKERS = 6
TENANTS = [uuid.UUID(int=0xF0 + number, version=4) for number in range(2)]
CALLS_AN_EVENT = 10


@dataclass
class Verdict:
    """What was tried and what was wrong."""

    calls: int = 0
    events: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """A stack whose services show their own metrics."""

    stack: Stack
    metrics: dict[str, str]


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """Start a stack to fuzz."""
    with running(folder, services=()) as stack:
        metrics = {}
        for name in SERVICES:
            listen = f"127.0.0.1:{servers.free_port()}"
            metrics[name] = f"http://{listen}/metrics"
            settings = {**stack.environments[name], "PROSPECT_METRICS_LISTEN": listen}
            # Among the stack's processes, so that it stops them.
            cast(dict[str, Any], stack.processes)[name] = start_service(folder, name, settings)
        for name in SERVICES:
            wait_serving(name, stack.addresses[name], stack.processes[name], folder)
        yield Target(stack, metrics)


async def fuzz(target: Target, seed: str, *, calls: int, until: float) -> Verdict:
    """Call and publish until so many calls were made, or a moment of the monotonic clock."""
    verdict, stack = Verdict(), target.stack
    generator = Generator(seed)
    async with _channels(stack) as channels:
        client = await nats.connect(stack.nats_url)
        caller = Caller(channels, generator, _callers(stack))
        publisher = Publisher(client, Generator(seed, unknown_values=False), TENANTS)
        await asyncio.gather(*(_work(caller, publisher, 60, until) for _ in range(WORKERS)))
        before = await held.measure(stack, target.metrics)  # caches and pools are full by now
        rest = calls // WORKERS
        await asyncio.gather(*(_work(caller, publisher, rest, until) for _ in range(WORKERS)))
        verdict.faults += [f"{fault}\n{shown}" for fault, shown in caller.faults.items()]
        verdict.faults += await publisher.unended()
        _, leaks = await held.leaked(stack, target.metrics, before)
        await client.close()
    verdict.statuses, verdict.events = caller.statuses, publisher.published
    verdict.calls = caller.statuses.total()
    verdict.faults += leaks + _ended(stack) + _errors_logged(stack.folder)
    return verdict


async def _work(caller: Caller, publisher: Publisher, calls: int, until: float) -> None:
    for number in range(calls):
        if time.monotonic() > until:
            return
        await caller.call_any()
        if number % CALLS_AN_EVENT == 0:
            await publisher.publish_any()


@asynccontextmanager
async def _channels(stack: Stack) -> AsyncIterator[dict[ServiceName, grpc.aio.Channel]]:
    async with AsyncExitStack() as on_exit:
        yield {
            name: await on_exit.enter_async_context(
                grpc.aio.insecure_channel(stack.addresses[name])
            )
            for name in ServiceName
        }


def _callers(stack: Stack) -> list[Metadata]:
    """Return the metadata of tenants' users, of the deployment's tools, and of nobody."""
    users = [stack.token(tenant, uuid.UUID(int=1)) for tenant in TENANTS for _ in range(4)]
    tools = stack.token(None, uuid.UUID(int=0), AUDIT_SCOPES, timedelta(hours=12))
    return [*((("authorization", f"Bearer {each}"),) for each in [*users, tools]), ()]


def _ended(stack: Stack) -> list[str]:
    return [
        f"{name} ended with {process.returncode}"
        for name, process in stack.processes.items()
        if process.poll() is not None
    ]


def _errors_logged(folder: Path) -> list[str]:
    """Return what the services logged as errors, and what is no line of a log at all."""
    faults: Counter[str] = Counter()
    for name in SERVICES:
        for line in (folder / "logs" / f"{name}.log").read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                faults[f"{name} wrote {line[:200]}"] += 1
                continue
            if entry.get("level") in ("error", "critical"):
                told = f"{entry.get('event')} {_end_of(entry.get('exception', ''))}"
                faults[f"{name} logged {told}"] += 1
    return [f"{what} ({times} times)" for what, times in faults.items()]


def _end_of(trace: str) -> str:
    """Return the exception and the places it came through last, of a trace."""
    places = re.findall(r"(\S+\.py):(\d+)", trace) or re.findall(r'"(\S+)", line (\d+)', trace)
    last = trace.strip().rsplit("\n", 1)[-1]
    return f"{last[:300]} at {[':'.join(place) for place in places[-6:]]}"
