"""`python -m tests.chaos.campaign --seed 7 --minutes 10`: random faults, and what came of them."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.chaos.campaign.faults import FAULTS, drawn_from
from tests.chaos.campaign.recovery import recoveries
from tests.chaos.campaign.run import campaign

MAX_SHOWN = 60


def main() -> None:
    """Run a campaign; exit 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="repeats a campaign's faults")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--only", action="append", default=[], help="a part of a fault's name")
    parser.add_argument("--pgbouncer", action="store_true", help="put PgBouncer before PostgreSQL")
    parser.add_argument("--keep", help="a folder for all data and logs, which stays")
    parser.add_argument("--recovery", action="store_true", help="time the recovery of each fault")
    parser.add_argument("--list", action="store_true", help="name the faults, and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(fault.name for fault in FAULTS))
        return
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(options.keep or temporary)
        if options.recovery:
            uvloop.run(recoveries(folder, options.seed, drawn_from(options.only), _tell))
            return
        seconds, pooled = options.minutes * 60, options.pgbouncer
        outcome = uvloop.run(
            campaign(folder, options.seed, seconds, _tell, options.only, pooled=pooled)
        )
    for finding in outcome.verdict.findings()[:MAX_SHOWN]:
        print(finding)
    for told, times in outcome.promises.wrong.most_common(MAX_SHOWN):
        print(f"answered {times} times: {told}")
    print(outcome.line())
    sys.exit(0 if outcome.right else 1)


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
