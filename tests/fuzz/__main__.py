"""`python -m tests.fuzz --seed 7 --minutes 10`: fuzz every RPC and event of a stack of its own."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.fuzz.run import Verdict, fuzz, target

MAX_SHOWN = 40


def main() -> None:
    """Fuzz; exit 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="repeats a run's messages")
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    until = time.monotonic() + options.minutes * 60
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        target(Path(folder)) as each,
    ):
        verdict = uvloop.run(fuzz(each, options.seed, calls=sys.maxsize, until=until))
    _show(verdict)
    sys.exit(1 if verdict.faults else 0)


def _show(verdict: Verdict) -> None:
    for fault in verdict.faults[:MAX_SHOWN]:
        print(fault)
    told = ", ".join(f"{status} {count:,}" for status, count in verdict.statuses.most_common())
    print(f"calls {verdict.calls:,} ({told})")
    print(f"events {verdict.events:,}, wrong {len(verdict.faults):,}")


if __name__ == "__main__":
    main()
