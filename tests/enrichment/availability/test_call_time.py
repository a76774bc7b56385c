"""A call's timeout: waits for slots of our own rate do not count."""

from __future__ import annotations

import asyncio

import pytest

from services.enrichment.availability.call_timeout import NoRoom, limited, waiting


async def wait(seconds: float) -> None:
    """Wait for a slot."""
    with waiting():
        await asyncio.sleep(seconds)


async def test_waits_are_not_counted() -> None:
    async with limited(0.5, longest_wait=60):
        for _ in range(3):
            await wait(0.2)


async def test_what_the_source_takes_between_waits_adds_up() -> None:
    async def call() -> None:
        async with limited(0.1, longest_wait=5):
            for _ in range(5):
                await wait(0.01)
                await asyncio.sleep(0.04)

    with pytest.raises(TimeoutError):
        await call()


async def test_no_time_counts_while_one_of_several_requests_waits() -> None:
    async with limited(0.5, longest_wait=60):
        await asyncio.gather(wait(0.02), wait(0.6), wait(0.55))


async def test_the_timeout_goes_on_when_no_request_waits() -> None:
    async def call() -> None:
        async with limited(0.1, longest_wait=5):
            await asyncio.gather(wait(0.02), wait(0.05))
            await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        await call()


async def test_a_wait_that_lasts_too_long_ends_the_call() -> None:
    with pytest.raises(NoRoom):
        async with limited(5, longest_wait=0.1):
            await asyncio.gather(wait(0.02), wait(5))


async def test_without_a_wait_only_the_calls_own_time_ends_it() -> None:
    async with limited(60, longest_wait=0.05):
        await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        async with limited(0.05, longest_wait=5):
            await asyncio.sleep(5)
