"""What an image holds: the services start with the packages of requirements.txt alone."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from devstack.stack import ROOT

MODULES = (
    "services.__main__",
    *(f"services.{s}.wiring" for s in ("activity", "enrichment", "metrics")),
)
IMPORT_IN_THE_IMAGE = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        absent = name.split(".")[0] in {absent!r}
        return None if absent else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(each) for each in sys.meta_path]
import {module}
"""


def locked(name: str) -> set[str]:
    """Return the distributions that a lock file names."""
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(), re.M))


def development_only() -> set[str]:
    """Return the modules that the image lacks: the development stack, and what only it needs."""
    absent = locked("requirements-dev.txt") - locked("requirements.txt")
    owners = packages_distributions().items()
    return {"devstack"} | {
        module
        for module, names in owners
        if {re.sub(r"[-_.]+", "-", each).lower() for each in names} <= absent
    }


@pytest.mark.parametrize("module", MODULES)
def test_a_service_imports_nothing_that_is_for_development_only(module: str) -> None:
    absent = development_only()
    assert {"psutil", "devstack"} <= absent
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_IN_THE_IMAGE.format(absent=absent, module=module)],
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
from services.cli.operate.services import ServiceName, known_variables, wiring_of
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
