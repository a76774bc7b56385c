"""Writes the CycloneDX SBOM of an environment: what its lock put there, with hashes and licences.

Run as `python -m deploy.supply.sbom ENVIRONMENT LOCK TARGET` with what requirements-supply.txt has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from deploy.supply.licences import installed, licence_of
from deploy.supply.locks import Locked, read_lock

PRODUCT = "prospect-platform"
Object = dict[str, Any]


def describe(environment: Path) -> Object:
    """Return what cyclonedx-py finds in an environment, the same each time."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--spec-version", "1.6", "--no-validate", str(environment)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: Object = json.loads(done.stdout)
    return found


def site_packages(environment: Path) -> str:
    return sysconfig.get_path("purelib", "venv", vars={"base": str(environment)})


def complete(component: Object, name: str, locked: Locked, licence: str | None) -> Object:
    """Add what the lock and the package's metadata say to what cyclonedx-py says."""
    if component["version"] != locked.version:
        raise SystemExit(f"{name}: locked is {locked.version}, installed {component['version']}")
    # Which extras were asked for depends on what else the environment has.
    component.pop("properties", None)
    # A wheel that the image's build made or fetched has no purl, and the path of that build.
    purl = f"pkg:pypi/{name}@{locked.version}"
    references = [
        each
        for each in component.get("externalReferences", [])
        if not each["url"].startswith("file:")
    ]
    hashes = [{"alg": "SHA-256", "content": each.partition(":")[2]} for each in locked.hashes]
    # Of all files that the lock admits, not of one: so they belong to where it is distributed.
    distribution = {
        "type": "distribution",
        "url": purl,
        "comment": "one of these hashes has the file that was installed, or built from",
        "hashes": sorted(hashes, key=lambda each: each["content"]),
    }
    licences = {"licenses": [{"expression": licence}]} if licence else {}
    component |= {"purl": purl, "externalReferences": [*references, distribution]}
    return component | licences


def make_sbom(environment: Path, lock: Path) -> Object:
    """Return the SBOM of the locked packages; what else the environment has is left out."""
    bom = describe(environment)
    found = {str(canonicalize_name(each["name"])): each for each in bom["components"]}
    locked, packages = read_lock(lock), installed([site_packages(environment)])
    if missing := sorted({PRODUCT, *locked} - found.keys()):
        raise SystemExit(f"not installed in {environment}: {', '.join(missing)}")
    # Only what is true wherever it is installed: not the folder of an editable one.
    product = {key: found[PRODUCT][key] for key in ("bom-ref", "name", "version")}
    bom["metadata"]["component"] = {"type": "application", **product}
    bom["components"] = [
        complete(found[name], name, locked[name], licence_of(packages[name]))
        for name in sorted(locked)
    ]
    refs = {product["bom-ref"], *(each["bom-ref"] for each in bom["components"])}
    bom["dependencies"] = [
        each | {"dependsOn": [ref for ref in each.get("dependsOn", []) if ref in refs]}
        for each in bom["dependencies"]
        if each["ref"] in refs
    ]
    return bom


def main() -> int:
    environment, lock, target = map(Path, sys.argv[1:])
    text = json.dumps(make_sbom(environment, lock), indent=1)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SystemExit(f"not valid CycloneDX: {wrong}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n")
    print(f"{target}: {len(json.loads(text)['components'])} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
