"""Every package of the product is under licences of one short list.

Run as `python -m deploy.supply.licences requirements.txt` where the lock's packages are installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

from deploy.supply.locks import read_lock

# What the product may contain. Each one allows use and redistribution in a closed product, and asks
# no more than that notices are kept and changes to a file of the package itself are shown (MPL).
ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
}

# What packages write in place of an SPDX expression, where it says one licence without a doubt.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "ISC License": "ISC",
    "MIT License": "MIT",
}

# Read by a person in the licence files of the package, whose metadata leave it open.
READ = {
    "pybreaker": "BSD-3-Clause",  # metadata: "BSD License"
    "uvloop": "MIT OR Apache-2.0",  # metadata: both in its classifiers, one in its field
}


def installed(path: Sequence[str] = sys.path) -> dict[str, Distribution]:
    """Return the packages under `path` by name."""
    return {str(canonicalize_name(each.name)): each for each in distributions(path=list(path))}


def licence_of(package: Distribution) -> str | None:
    """Return the SPDX expression of a package's licence, or None where it cannot be known."""
    said = package.metadata
    if declared := said.get_all("License-Expression", []):
        return str(declared[0])
    if read := READ.get(canonicalize_name(package.name)):
        return read
    classifiers = [c for c in said.get_all("Classifier", []) if c.startswith("License :: OSI")]
    named = [c.rsplit(" :: ", 1)[1] for c in classifiers] if len(classifiers) == 1 else []
    for name in [*said.get_all("License", []), *named]:
        try:
            return str(canonicalize_license_expression(SPELLINGS.get(name, name)))
        except InvalidLicenseExpression:
            continue
    return None


def licence_problems(lock: Path, packages: dict[str, Distribution]) -> Iterator[str]:
    """Say of each locked package what forbids or hides its licence, a line each."""
    for name, (version, _hashes) in read_lock(lock).items():
        package = packages.get(name)
        if package is None or package.version != version:
            has = package.version if package else "none"
            yield f"{name}: {lock.name} has {version}, installed is {has}: make lock, then install"
            continue
        licence = licence_of(package)
        if licence is None:
            yield f"{name} {version}: no licence in its metadata: read its files, add it to READ"
            continue
        # Also of an OR each one must be allowed: which of them we take is a person's decision.
        parts = set(re.findall(r"[^\s()]+", licence)) - {"AND", "OR", "WITH"}
        for refused in sorted(parts - ALLOWED):
            yield f"{name} {version}: {refused} is not among ALLOWED ({licence})"


def main() -> int:
    lock = Path(sys.argv[1])
    problems = list(licence_problems(lock, installed()))
    for problem in problems:
        print(f"deploy/supply/licences.py: {problem}")
    if not problems:
        print(f"{lock}: {len(read_lock(lock))} packages, all under allowed licences")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
