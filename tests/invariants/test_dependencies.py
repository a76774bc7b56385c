"""What an image holds: the services start with the packages of requirements.txt alone."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from services.dev import ROOT

MODULES = (
    "services.__main__",
    *(f"services.{s}.wiring" for s in ("activity", "enrichment", "metrics")),
)
BLOCKED_IMPORT = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is for development only")
sys.meta_path.insert(0, Blocker())
import {module}
"""


def locked(name: str) -> set[str]:
    """Return the distributions that a lock file names."""
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(), re.M))


def development_only() -> set[str]:
    """Return the modules that only requirements-dev.txt brings."""
    absent = locked("requirements-dev.txt") - locked("requirements.txt")
    owners = packages_distributions().items()
    return {
        module
        for module, names in owners
        if {re.sub(r"[-_.]+", "-", each).lower() for each in names} <= absent
    }


@pytest.mark.parametrize("module", MODULES)
def test_it_imports_nothing_that_is_for_development_only(module: str) -> None:
    blocked = development_only()
    assert "psutil" in blocked
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED_IMPORT.format(blocked=blocked, module=module)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


ONE_SERVICE = """
import sys
from services import __main__
from services.cli.catalogue import ServiceName, known_variables, wiring_of
known_variables()
wiring_of(ServiceName("{service}"))
print(*sorted(name for name in sys.modules if name.endswith(".wiring")))
"""


@pytest.mark.parametrize("service", ["activity", "enrichment", "metrics"])
def test_a_process_that_serves_holds_the_code_of_its_own_service_only(service: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_SERVICE.format(service=service)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"services.{service}.wiring"]
