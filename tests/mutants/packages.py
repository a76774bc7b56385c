"""What is mutated, and the tests that have to notice: one row a package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devstack.stack import ROOT

SAMPLE = 40
"""How many mutants are drawn of a package whose tests need servers, when no LIMIT is given."""


@dataclass(frozen=True)
class Package:
    """A folder, its modules, and the names of the tests that cover them, somewhere under a folder.

    Of a package without a `sample` all mutants are run.
    """

    name: str
    folder: str
    modules: str
    tests_under: str
    tests: str
    sample: int | None = None

    def modules_under(self, place: Path) -> list[str]:
        """Return its modules in a folder, the module at a path, or all by the package's name."""
        found = _found(Path(self.folder), [f"{name}.py" for name in self.modules.split()])
        paths = [Path(name) for name in found]
        return [str(each) for each in paths if place in (Path(self.name), each, *each.parents)]

    def test_files(self) -> list[str]:
        """Return the files of its tests, in whatever folder they stand."""
        names = [f"**/test_{name}.py" for name in self.tests.split()]
        return _found(Path("tests", self.tests_under), names)


def _found(folder: Path, patterns: list[str]) -> list[str]:
    """Return the files that the globs find; one that finds none was left behind by a move."""
    files = {pattern: sorted((ROOT / folder).glob(pattern)) for pattern in patterns}
    missing = [pattern for pattern, found in files.items() if not found]
    if missing:
        raise FileNotFoundError(f"packages.py: {folder} has no {', '.join(missing)}")
    paths = {path.relative_to(ROOT) for found in files.values() for path in found}
    return sorted(str(path) for path in paths if path.name != "__init__.py")


PACKAGES = (
    Package("run", "services/enrichment/run", "*", "enrichment", "turn turn_bounds plan records"),
    Package(
        "policy",
        "services/enrichment/policy",
        "policy budget suppression",
        "enrichment",
        "budget suppression policy_values",
    ),
    Package(
        "edgar",
        "services/enrichment/sources/edgar",
        "filing_xml form ownership trades",
        "enrichment",
        "filing_parts ownership ownership_broken ownership_parts insider_trades",
    ),
    Package(
        "edgar-http",
        "services/enrichment/sources/edgar",
        "client transport",
        "enrichment",
        "sec_edgar sec_failures sec_requests",
        SAMPLE,
    ),
    Package(
        "claude",
        "services/enrichment/sources/claude",
        "check quantities template",
        "enrichment",
        "check quantit* summary template",
    ),
    Package("entries", "services/activity/entries", "batch filters", "activity", "batch filter"),
    Package(
        "proof",
        "services/activity/proof",
        "merkle leaf checkpoint offline",
        "activity",
        "merkle leaf checkpoint offline_lines",
    ),
    Package(
        "proof-log",
        "services/activity/proof",
        "sealer verification",
        "activity",
        "sealer verification",
        SAMPLE,
    ),
    Package(
        "availability",
        "services/enrichment/availability",
        "*",
        "enrichment",
        "breaker_copy breaker_state breakers call_time limits newer_version pauses policy_rpcs "
        "probes rpc",
        SAMPLE,
    ),
    Package(
        "chassis-pure",
        "chassis",
        "clock errors group_commit settings tokens validation",
        "chassis",
        "clock errors group_commit* settings token* validation violations",
    ),
    Package(
        "chassis-servers",
        "chassis",
        "auth consumer dead_letters inbox interceptor loops messaging outbox",
        "chassis",
        "auth consumer* dead_letters inbox interceptor issuer_keys loops messaging nats_login "
        "outbox server verifier",
        SAMPLE,
    ),
    Package("chassis-migrate", "chassis", "migrate", "chassis", "migrate postgres_tls", SAMPLE),
    Package(
        "chassis-admission",
        "chassis/admission",
        "deadlines health server_options",
        "chassis/admission",
        "deadlines health server_limits",
        SAMPLE,
    ),
    Package(
        "chassis-identity",
        "chassis/identity",
        "*",
        "chassis/identity",
        "certificates channel listening nats_login nats_tls postgres_tls secrets service_callers",
        SAMPLE,
    ),
)
