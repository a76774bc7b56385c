"""Change the code one token at a time and name each change that no test notices: `make mutants`.

mutmut makes the changes, drops those that mypy refuses, and runs the tests that reach the function.
It works on a copy of the tree under build/mutants, which also keeps what was killed before. Other
words in a sentence are no change: only a string without a space counts.

No change shows in what a test's module makes as it is loaded: what is under test is called within
the test. Nor is a table at the top of a module changed: tests/invariants hold those.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.mutants.known import KNOWN, Change, read_known
from tests.mutants.package import Examined, examine
from tests.mutants.packages import PACKAGES


def main() -> int:
    """Examine the packages, print the count of each, and fail on a survivor that is not known."""
    asked = _parser().parse_args()
    seed = asked.seed if asked.seed is not None else random.randrange(10_000)
    known = read_known()
    print(f"seed {seed}", flush=True)
    survivors: list[Change] = []
    for package in PACKAGES:
        modules = package.modules_under(asked.only)
        if modules:
            examined = examine(package, modules, known, asked.limit, random.Random(seed))
            print(_line(package.name, examined), flush=True)
            survivors += examined.survivors
    for change in sorted(survivors):
        print(f"\n{change}")
    if survivors:
        print(f"\nGive each of these a test, or a reason in {KNOWN.name}.")
    return 1 if survivors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", type=Path, default=Path(), help="a folder, a file or a package")
    parser.add_argument("--limit", type=int, help="how many mutants of each package to draw")
    parser.add_argument("--seed", type=int, help="what they are drawn with")
    return parser


def _line(name: str, examined: Examined) -> str:
    return (
        f"{name}: mutants {examined.drawn} of {examined.made}, killed {examined.killed} "
        f"({examined.refused} by mypy), known {examined.known}, "
        f"survived {len(examined.survivors)}"
    )


if __name__ == "__main__":
    sys.exit(main())
