"""A short run of the fuzzer: `make fuzz` is the long one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fuzz.run import fuzz, target

CALLS = 1_200


@pytest.mark.timeout(180)
async def test_whatever_is_sent_is_answered_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with target(tmp_path) as stack:
        verdict = await fuzz(stack, "short", calls=CALLS, until=time.monotonic() + 120)
    assert verdict.calls >= CALLS
    assert verdict.events
    assert verdict.faults == []
