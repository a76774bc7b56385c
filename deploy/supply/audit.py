"""Asks the OSV database for known vulnerabilities of what the locks install.

Run as `python -m deploy.supply.audit [--osv-url URL] LOCK…` with what requirements-supply.txt has.
It exits with 0 where none is known of any package, 1 where one is known, and 3 where the database
did not answer for every package: then nothing is known, which is not the same as no vulnerability.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from deploy.supply.locks import read_lock

NONE_KNOWN, VULNERABLE, UNANSWERED = 0, 1, 3
AUDIT_SECONDS = 600

Object = dict[str, Any]


class UnansweredError(Exception):
    """The database did not answer; the text says what was seen in its place."""


def ask(lock: Path, osv_url: str | None) -> list[Object]:
    """Return pip-audit's finding of each package, or raise where it has none."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--requirement", str(lock)]
    command += ["--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off"]
    command += ["--osv-url", osv_url] if osv_url else []
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=AUDIT_SECONDS
        )
        # Its status is 1 for a vulnerability and for every error: only the output tells them apart.
        findings: list[Object] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        raise UnansweredError(f"no answer in {AUDIT_SECONDS} seconds") from error
    except (ValueError, KeyError) as error:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise UnansweredError(lines[-1]) from error
    return findings


def audit(lock: Path, osv_url: str | None) -> int:
    """Print what is known of a lock's packages; return the status."""
    try:
        findings = ask(lock, osv_url)
    except UnansweredError as error:
        print(f"{lock}: NOT AUDITED: the vulnerability database is out of reach ({error})")
        return UNANSWERED
    answered = {str(canonicalize_name(each["name"])) for each in findings if "vulns" in each}
    vulnerable = [each for each in findings if each.get("vulns")]
    for package in vulnerable:
        for found in package["vulns"]:
            names = ", ".join([found["id"], *found["aliases"]])
            fixed = ", ".join(found["fix_versions"]) or "none"
            print(f"{lock}: {package['name']} {package['version']}: {names}; fixed in: {fixed}")
    if left := sorted(read_lock(lock).keys() - answered):
        print(f"{lock}: NOT AUDITED: the database did not answer for {', '.join(left)}")
    if vulnerable:
        return VULNERABLE
    if left:
        return UNANSWERED
    print(f"{lock}: no vulnerability is known of its {len(answered)} packages")
    return NONE_KNOWN


def main() -> int:
    parser = ArgumentParser(prog="deploy.supply.audit", description=__doc__)
    parser.add_argument("--osv-url", help="another copy of the database than OSV's own")
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    given = parser.parse_args()
    statuses = {audit(lock, given.osv_url) for lock in given.locks}
    return next(each for each in (VULNERABLE, UNANSWERED, NONE_KNOWN) if each in statuses)


if __name__ == "__main__":
    sys.exit(main())
