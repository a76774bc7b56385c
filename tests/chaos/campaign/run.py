"""A campaign: load by clients, one drawn fault after the other, then the verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.campaign.cluster import Cluster, cluster
from tests.chaos.campaign.faults import Fault, drawn_from
from tests.chaos.campaign.load import Client, Promises, clients
from tests.chaos.campaign.oracle import Verdict, judge
from tests.fuzz import held

PAUSE_SECONDS = (0.5, 4.0)
WARM_SECONDS = 4.0
ANSWERED_SECONDS = 120.0
Tell = Callable[[str], None]


@dataclass
class Outcome:
    """How a campaign ended."""

    faults: int
    promises: Promises
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether nothing was lost, doubled, stuck, paid twice or leaked, nor answered wrongly."""
        return not self.verdict.findings() and not self.promises.wrong

    def line(self) -> str:
        """Return the whole in one line."""
        return (
            f"faults {self.faults:,}, operations {self.promises.operations:,},"
            f" {self.verdict.counts()}"
        )


async def campaign(
    folder: Path,
    seed: str,
    seconds: float,
    tell: Tell,
    only: Sequence[str] = (),
    *,
    pooled: bool = False,
) -> Outcome:
    """Run one; the seed draws the faults, their victims and their lengths."""
    promises = Promises()
    async with cluster(folder, pooled=pooled) as running:
        before = await _warmed(running, promises, seed)
        stopping = asyncio.Event()
        working = [
            (each, asyncio.create_task(each.work(stopping)))
            for each in clients(running, promises, seed)
        ]
        drawn = drawn_from(only)
        faults = await _break(running, random.Random(seed), drawn, seconds, tell)
        stopping.set()
        verdict_of_clients = await _answered(working)
        await running.wait_serving()
        verdict = await judge(running, promises, before)
        verdict.stuck += verdict_of_clients
    return Outcome(faults, promises, verdict)


async def _warmed(running: Cluster, promises: Promises, seed: str) -> held.Held:
    """Fill pools and caches by some load, and measure what the replicas hold then."""
    stopping = asyncio.Event()
    working = clients(running, promises, f"{seed}/warm")
    tasks = [(each, asyncio.create_task(each.work(stopping))) for each in working]
    await asyncio.sleep(WARM_SECONDS)
    stopping.set()
    await _answered(tasks)
    pages = {name: f"http://{each.metrics}/metrics" for name, each in running.replicas.items()}
    return await held.measure(running.stack, pages)


async def _break(
    running: Cluster, dice: random.Random, faults: Sequence[Fault], seconds: float, tell: Tell
) -> int:
    """Break one thing after the other until the time is over; return how many faults there were."""
    started = time.monotonic()
    number = 0
    while time.monotonic() - started < seconds:
        await asyncio.sleep(dice.uniform(*PAUSE_SECONDS))
        fault = dice.choice(faults)
        held_for = dice.uniform(*fault.seconds)
        number += 1
        tell(f"{time.monotonic() - started:6.1f} s  {fault.name} ({held_for:.1f} s)")
        # Dice of its own, so that what a fault draws leaves the later ones as they are.
        async with fault.strike(running, random.Random(dice.random())):
            await asyncio.sleep(held_for)
    return number


async def _answered(working: Sequence[tuple[Client, asyncio.Task[None]]]) -> list[str]:
    """See every client's last call answered; return what is not."""
    tasks = [task for _, task in working]
    done, pending = await asyncio.wait(tasks, timeout=ANSWERED_SECONDS)
    for task in pending:
        task.cancel()
    for client, _ in working:
        await client.close()
    for task in done:
        task.result()
    return [f"{len(pending)} clients were not answered"] if pending else []
