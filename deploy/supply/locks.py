"""Reads a lock file: which versions it installs here, and the hashes that their files may have."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class Locked(NamedTuple):
    version: str
    hashes: tuple[str, ...]  # "sha256:…", one for each file that may be installed


def read_lock(lock: Path) -> dict[str, Locked]:
    """Return what the lock installs on this machine, by name; it holds more for other platforms."""
    packages = {}
    for line in lock.read_text().replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        wanted, *hashes = line.split("--hash=")
        requirement = Requirement(wanted.strip())
        if requirement.marker is None or requirement.marker.evaluate():
            version = str(requirement.specifier).removeprefix("==")
            digests = tuple(each.strip() for each in hashes)
            packages[str(canonicalize_name(requirement.name))] = Locked(version, digests)
    return packages
