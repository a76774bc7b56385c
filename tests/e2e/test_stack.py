"""The stack as a developer runs it: starts, stops cleanly, and clears up after a kill."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

HANG_SECONDS = 60.0
"""Keeps what hangs from lasting for ever; how long a stop takes decides nothing."""


class Dev:
    """`prospect dev` in a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> list[psutil.Process]:
        """Start it, wait until it says how to call it, and return its processes."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services", "dev", "--state", str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        )
        assert self.process.stdout
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "Ctrl-C stops all" in line:
                return psutil.Process(self.process.pid).children(recursive=True)
        pytest.fail(f"prospect dev ended before it was ready: {''.join(said)}")

    def stop(self, number: signal.Signals) -> int:
        """Signal it and return its exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(HANG_SECONDS)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    # It takes fixed ports: two that start in the same moment would take the same ones.
    with open(Path(tempfile.gettempdir()) / "prospect-test-fixed-ports", "w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        dev = Dev(tmp_path / "state")
        yield dev
        if dev.process and dev.process.poll() is None:
            dev.process.kill()


def trouble_in_logs(folder: Path) -> list[str]:
    """Return log lines of the services above info."""
    lines = [
        line
        for name in ("activity", "enrichment", "metrics", "sandbox")
        for line in (folder / "logs" / f"{name}.log").read_text().splitlines()
    ]
    parsed = [json.loads(line) if line.startswith("{") else {"level": line} for line in lines]
    return [str(each) for each in parsed if each["level"] not in ("info", "debug")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_every_process_without_trouble_in_the_logs(
    dev: Dev, number: signal.Signals
) -> None:
    processes = dev.start()
    assert dev.stop(number) == 0
    assert psutil.wait_procs(processes, timeout=0)[1] == []
    assert trouble_in_logs(dev.folder) == []


def test_a_kill_leaves_no_process_and_the_next_start_works(dev: Dev) -> None:
    processes = dev.start()
    dev.stop(signal.SIGKILL)
    assert psutil.wait_procs(processes, timeout=HANG_SECONDS)[1] == []
    dev.start()
    assert dev.stop(signal.SIGTERM) == 0


def test_a_second_stack_in_the_same_folder_is_refused_and_leaves_the_first_alone(
    dev: Dev,
) -> None:
    dev.start()
    second = subprocess.run(
        [sys.executable, "-m", "services", "dev", "--state", str(dev.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "a stack is running" in second.stderr
    assert dev.stop(signal.SIGTERM) == 0


def test_an_interrupted_demo_leaves_no_process_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "services", "demo", "--state", str(tmp_path / "state")]
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert demo.stdout
        next(line for line in demo.stdout if "Enrichments, live" in line)
        processes = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(number)
        assert demo.wait(HANG_SECONDS) == code
        assert psutil.wait_procs(processes, timeout=HANG_SECONDS)[1] == []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
