"""The environment of requirements-supply.txt, in which the SBOM and the audit run."""

import subprocess
from collections.abc import Callable

import pytest

from devstack.stack import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_tool() -> Run:
    """Return what runs Python with the tools, as `make sbom` and `make audit` do."""
    assert (ROOT / "build/supply/.ready").exists(), "first: make build/supply/.ready"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["build/supply/bin/python", *map(str, arguments)],
            cwd=ROOT,
            env={"NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
