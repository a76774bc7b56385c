"""`prospect usage` in the test's own process, beside running activity and metrics services."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.cli.in_process import InProcess
from tests.metrics.conftest import Pair


@dataclass(frozen=True)
class Usage(InProcess):
    """The command, the services it finds, and a file with an auditor's token."""

    group = "usage"

    pair: Pair
    audit: Path
