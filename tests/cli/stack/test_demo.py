"""`prospect demo`, and its absence where the development stack is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devstack.stack import ROOT
from tests.cli.process import prospect


def test_the_demo_tells_its_story_and_ends_well(tmp_path: Path) -> None:
    done = prospect("demo", "--state", str(tmp_path / "state"), "--latency", "50")
    assert (done.returncode, done.stderr) == (0, "")
    for told in (
        "Answered by the sandbox, not by the vendor: contactout, exa, sec, claude",
        "5,000 activities of 4 users recorded",
        "Katherine Adams",
        "Asked for again: Katherine Adams is there in",
        "insider trades in Apple Inc.",
        "activities by user",
        "Where everything runs",
    ):
        assert told in done.stdout


WITHOUT_DEVSTACK = """
import sys
sys.modules["devstack"] = None
from services.__main__ import main
main()
"""


@pytest.mark.parametrize("command", ["demo", "dev"])
def test_without_the_development_stack_one_line_says_what_to_install(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DEVSTACK, command, "--latency", "50"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "prospect: the development stack is not installed here:"
        " pip install 'prospect-platform[dev]'\n"
    )
