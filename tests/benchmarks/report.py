"""A benchmark's result: a value, what it is compared with in the same run, and their ratio."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

OUT = Path("build/benchmarks.json")


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's outcome: medians over several rounds; `ratio` is the median of theirs."""

    name: str
    value: float
    unit: str
    against: float
    ratio: float
    limit: str
    """What the ratio should be, in words; a reader judges, no test does."""


Benchmark = Callable[[], AsyncIterator[Result]]


def ratio_of(name: str, unit: str, limit: str, rounds: Sequence[tuple[float, float]]) -> Result:
    """Return the medians of (value, against) pairs, each measured in one round."""
    return Result(
        name,
        round(median(value for value, _ in rounds), 3),
        unit,
        round(median(against for _, against in rounds), 3),
        round(median(value / against for value, against in rounds), 3),
        limit,
    )


def show(console: Console, results: Sequence[Result]) -> None:
    """Print the results as a table."""
    table = Table("benchmark", "unit", "should be")
    for heading in ("value", "against", "ratio"):
        table.add_column(heading, justify="right")
    for each in results:
        numbers = (f"{each.value:,}", f"{each.against:,}", f"{each.ratio:.2f}")
        table.add_row(each.name, each.unit, each.limit, *numbers)
    console.print(table)


def write(results: Sequence[Result]) -> None:
    """Write the results where programs find them; those of an earlier run with other names stay."""
    earlier = json.loads(OUT.read_text()) if OUT.exists() else []
    names = {each.name for each in results}
    kept = [each for each in earlier if each["name"] not in names]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(kept + [asdict(each) for each in results], indent=2) + "\n")
