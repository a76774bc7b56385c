"""Work that comes round: one pass that fails is not the end."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from chassis.loops import repeat


@pytest.mark.parametrize("trouble", [ConnectionResetError(), ValueError("a bug")])
async def test_a_pass_that_fails_is_followed_by_the_next(trouble: Exception) -> None:
    stopping, passes = asyncio.Event(), 0

    async def work() -> None:
        nonlocal passes
        passes += 1
        if passes < 3:
            raise trouble
        stopping.set()

    with capture_logs() as logged:
        await asyncio.wait_for(repeat(work, stopping, name="work", every_seconds=0.01), 30)
    assert passes == 3
    assert [each["work"] for each in logged] == ["work"] * 2


async def test_a_stop_ends_the_wait_at_once() -> None:
    stopping = asyncio.Event()

    async def work() -> None:
        asyncio.get_running_loop().call_soon(stopping.set)

    await asyncio.wait_for(repeat(work, stopping, name="work", every_seconds=3_600), 30)


async def test_a_pass_comes_early_where_it_is_asked_for() -> None:
    stopping, early, passes = asyncio.Event(), asyncio.Event(), 0

    async def work() -> None:
        nonlocal passes
        passes += 1
        asyncio.get_running_loop().call_soon((early, stopping)[passes - 1].set)

    looping = repeat(work, stopping, name="work", every_seconds=3_600, early=early)
    await asyncio.wait_for(looping, 30)
    assert passes == 2
