"""What `pip install prospect-platform` brings: every file of the packages, and not Python alone."""

from __future__ import annotations

import subprocess
import sys

from devstack.stack import ROOT

PACKAGES = ("chassis", "services", "devstack")
LIST_WHEEL = """
from setuptools.dist import Distribution
wheel = Distribution({"script_name": "setup.py"})
wheel.parse_config_files()
wheel.include_package_data = False  # else a list of all sources is written into the tree
build = wheel.get_command_obj("build_py")
build.ensure_finalized()
print(*build.get_outputs(include_bytecode=False), sep="\\n")
"""


def lines_of(*command: str) -> set[str]:
    """Run a command in the repository; return its output's lines."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def test_the_wheel_holds_migrations_roles_queries_and_the_sandboxs_data() -> None:
    built = {each.split("build/lib/")[-1] for each in lines_of(sys.executable, "-c", LIST_WHEEL)}
    ours = lines_of("git", "ls-files", *PACKAGES)
    assert ours - built == set()
    for name in ("activity/migrations", "activity/roles.sql", "activity/queries.sql"):
        assert any(each.startswith(f"services/{name}") for each in built)
    assert any(each.startswith("devstack/sandbox/data/") for each in built)
