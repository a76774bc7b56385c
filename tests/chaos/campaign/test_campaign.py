"""A short campaign of the commit's own: whatever breaks, nothing is lost, doubled or stuck."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devstack.stack import ROOT
from tests.chaos.campaign.run import campaign

SECONDS = 30.0


def seed_of_commit() -> str:
    """Return a seed that each commit has for itself, and that a failed run can be repeated with."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "0"


@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_stuck_paid_twice_or_leaked(tmp_path: Path) -> None:
    seed = seed_of_commit()
    print(f"seed {seed}: make chaos SEED={seed} MINUTES={SECONDS / 60}")
    outcome = await campaign(tmp_path / "campaign", seed, SECONDS, print)
    print(outcome.line())
    assert outcome.verdict.findings() == []
    assert outcome.promises.wrong == {}
