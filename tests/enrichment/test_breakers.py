"""The breaker: opens on the source's faults only, and lets one probe through."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from services.enrichment.breakers import CircuitOpen, SourceBreaker
from services.enrichment.findings import ErrorClass, SourceError, SourceName


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> SourceBreaker:
    return SourceBreaker(SourceName.EXA, fail_max=3, reset_seconds=20, clock=time)


async def good() -> str:
    return "answer"


def failing(error_class: ErrorClass = ErrorClass.TRANSIENT) -> SourceError:
    return SourceError(error_class, "no")


async def fail(breaker: SourceBreaker, times: int, error: SourceError) -> None:
    async def ask() -> None:
        raise error

    for _ in range(times):
        with pytest.raises((SourceError, CircuitOpen)):
            await breaker.call(ask)


async def test_it_opens_after_failures_in_a_row(breaker: SourceBreaker) -> None:
    await fail(breaker, 3, failing())
    with pytest.raises(CircuitOpen):
        await breaker.call(good)


async def test_a_good_answer_between_starts_the_count_anew(breaker: SourceBreaker) -> None:
    await fail(breaker, 2, failing())
    await breaker.call(good)
    await fail(breaker, 2, failing())
    assert breaker.open_until() is None


async def test_throttling_and_our_own_bad_requests_do_not_open_it(breaker: SourceBreaker) -> None:
    await fail(breaker, 5, failing(ErrorClass.THROTTLED))
    await fail(breaker, 5, failing(ErrorClass.REFUSED_REQUEST))
    assert breaker.open_until() is None


async def test_a_cancelled_call_counts_as_nothing(breaker: SourceBreaker) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    for _ in range(5):
        call = asyncio.create_task(breaker.call(hang))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert breaker.open_until() is None


async def test_after_its_time_one_probe_goes_through_and_no_other(
    breaker: SourceBreaker, time: Time
) -> None:
    await fail(breaker, 3, failing())
    time.now += timedelta(seconds=21)
    release = asyncio.Event()

    async def slow() -> str:
        await release.wait()
        return "answer"

    probe = asyncio.create_task(breaker.call(slow))
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):
        await breaker.call(good)
    release.set()
    assert await probe == "answer"


async def test_a_good_probe_closes_it(breaker: SourceBreaker, time: Time) -> None:
    await fail(breaker, 3, failing())
    time.now += timedelta(seconds=21)
    await breaker.call(good)
    assert await breaker.call(good) == "answer"


async def test_a_bad_probe_opens_it_for_another_while(breaker: SourceBreaker, time: Time) -> None:
    await fail(breaker, 3, failing())
    time.now += timedelta(seconds=21)
    await fail(breaker, 1, failing())
    assert breaker.open_until() == time.now + timedelta(seconds=20)


async def test_a_cancelled_probe_leaves_room_for_the_next(
    breaker: SourceBreaker, time: Time
) -> None:
    await fail(breaker, 3, failing())
    time.now += timedelta(seconds=21)

    async def hang() -> None:
        await asyncio.Event().wait()

    probe = asyncio.create_task(breaker.call(hang))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert await breaker.call(good) == "answer"
