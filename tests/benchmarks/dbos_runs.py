"""The same run in DBOS, for comparison: four calls answered at once, and a summary, each durable.

A program of its own, in an environment of its own: `dbos_runs.py DSN RUNS IN_FLIGHT` prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from statistics import median

from dbos import DBOS, DBOSConfig  # type: ignore[import-not-found]

ANSWER = {"name": "Ada Lovelace", "emails": ["ada@engines.example"], "cost_micros": 1000}


@DBOS.step()  # type: ignore[untyped-decorator]
async def contactout_by_email(prospect: str) -> dict[str, object]:
    """Find nobody, at once."""
    return {}


@DBOS.step()  # type: ignore[untyped-decorator]
async def contactout_by_name(prospect: str) -> dict[str, object]:
    """Answer at once."""
    return ANSWER


@DBOS.step()  # type: ignore[untyped-decorator]
async def exa(prospect: str) -> dict[str, object]:
    """Answer at once."""
    return ANSWER


@DBOS.step()  # type: ignore[untyped-decorator]
async def sec(prospect: str) -> dict[str, object]:
    """Answer at once."""
    return ANSWER


@DBOS.step()  # type: ignore[untyped-decorator]
async def claude(found: list[dict[str, object]]) -> dict[str, object]:
    """Answer at once."""
    return ANSWER


RESEARCH = (contactout_by_email, contactout_by_name, exa, sec)


@DBOS.workflow()  # type: ignore[untyped-decorator]
async def enrich(prospect: str) -> dict[str, object]:
    """Research, then summarise."""
    found = [await step(prospect) for step in RESEARCH]
    summary: dict[str, object] = await claude(found)
    return summary


async def main(runs: int, in_flight: int) -> dict[str, float]:
    """Return the latency of a run at rest in ms, and the runs a second with many in flight."""
    room = asyncio.Semaphore(in_flight)

    async def run(number: int) -> float:
        async with room:
            started = time.perf_counter()
            handle = await DBOS.start_workflow_async(enrich, f"prospect-{number}")
            await handle.get_result()
            return time.perf_counter() - started

    for number in range(10):
        await run(number)
    alone = [await run(number) for number in range(50)]
    started = time.perf_counter()
    await asyncio.gather(*(run(number) for number in range(runs)))
    return {
        "latency_ms": median(alone) * 1000,
        "runs_per_second": runs / (time.perf_counter() - started),
    }


if __name__ == "__main__":
    config: DBOSConfig = {
        "name": "comparison",
        "system_database_url": sys.argv[1],
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    print(json.dumps(asyncio.run(main(int(sys.argv[2]), int(sys.argv[3])))))
    DBOS.destroy()
