"""The configuration that production's broker should have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from devstack.stack import ROOT

CONFIGURATION = ROOT / "deploy" / "nats" / "server.conf"


def test_nats_server_takes_the_configuration(tmp_path: Path) -> None:
    text = CONFIGURATION.read_text().replace("/data/jetstream", str(tmp_path))
    (tmp_path / "server.conf").write_text(text)
    binary = Path(sys.executable).parent / "nats-server"
    checked = subprocess.run(
        [binary, "-t", "-c", str(tmp_path / "server.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
