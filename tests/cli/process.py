"""The command as its user meets it: a process of its own, its output and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys

from devstack.stack import ROOT


def prospect(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "protos"), "COLUMNS": "160"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
