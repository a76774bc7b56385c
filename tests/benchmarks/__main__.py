"""`python -m tests.benchmarks [service]`: run, show progress, print a table, write the results."""

from __future__ import annotations

import sys
import time

import uvloop
from rich.console import Console

from tests.benchmarks import activity, enrichment, metrics, overload
from tests.benchmarks.report import Benchmark, Result, show, write

BENCHMARKS: dict[str, tuple[Benchmark, ...]] = {
    "activity": activity.BENCHMARKS,
    "enrichment": enrichment.BENCHMARKS,
    "metrics": metrics.BENCHMARKS,
    "overload": overload.BENCHMARKS,
}


async def run(console: Console, chosen: tuple[Benchmark, ...]) -> list[Result]:
    """Run one after the other; what is done is on screen while the next one runs."""
    results = []
    for benchmark in chosen:
        name = benchmark.__name__.replace("_", " ")
        started = time.monotonic()
        with console.status(f"{name} …"):
            async for result in benchmark():
                results.append(result)
                console.print(
                    f"{result.name}: {result.value:,} {result.unit} against {result.against:,}, "
                    f"ratio {result.ratio:.2f} (should be {result.limit}), "
                    f"{time.monotonic() - started:.0f} s"
                )
    return results


def main() -> None:
    """Run all, or those of one service."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    if only and only not in BENCHMARKS:
        sys.exit(f"no benchmarks for {only!r}: there are {', '.join(BENCHMARKS)}")
    console = Console()
    groups = [BENCHMARKS[only]] if only else list(BENCHMARKS.values())
    results = uvloop.run(run(console, tuple(each for group in groups for each in group)))
    show(console, results)
    write(results)


if __name__ == "__main__":
    main()
