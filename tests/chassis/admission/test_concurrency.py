"""The number of calls in work follows how long they take."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chassis.admission.admission import Admission, Visit
from chassis.admission.concurrency import CUT, TARGET_SECONDS, ConcurrencyLimit
from chassis.admission.gate import Gate
from chassis.admission.tenants import Load
from chassis.errors import ResourceExhausted

MOST, LEAST = 100, 20
SETTINGS = {
    "message_memory_mb": 32, "max_message_mb": 4, "queue_seconds": 60, "max_calls": 10,
    "max_calls_in_work": 1, "postgres_pool_size": 2, "burst_seconds": 10, "reads_per_second": 0,
    "writes_per_second": 0, "expensive_per_second": 0, "tenant_share": 1, "tenant_limits": {},
}  # fmt: skip


def a_limit() -> tuple[ConcurrencyLimit, Gate]:
    gate = Gate("calls_in_work", MOST)
    return ConcurrencyLimit(gate, LEAST), gate


def end_calls(limit: ConcurrencyLimit, count: int, seconds: float, begun: float = 1.0) -> None:
    """End so many calls that began at a moment."""
    for _ in range(count):
        limit.ended(begun, begun + seconds)


def test_calls_that_take_long_let_fewer_in() -> None:
    limit, gate = a_limit()
    end_calls(limit, 200, 2 * TARGET_SECONDS)
    assert gate.total == MOST * CUT


def test_one_slow_call_among_quick_ones_changes_nothing() -> None:
    limit, gate = a_limit()
    for _ in range(10):
        end_calls(limit, 50, 0.01)
        end_calls(limit, 1, 5 * TARGET_SECONDS)
    assert gate.total == MOST


def test_so_many_calls_are_always_let_in() -> None:
    limit, gate = a_limit()
    for begun in range(1, 100):
        end_calls(limit, 50, 0.9, begun)
    assert gate.total == LEAST


def test_quick_calls_let_more_in_again_up_to_the_setting() -> None:
    limit, gate = a_limit()
    end_calls(limit, 200, 2 * TARGET_SECONDS)
    end_calls(limit, 90, 0.01, begun=9)
    assert MOST * CUT < gate.total < MOST
    end_calls(limit, 9_000, 0.01, begun=9)
    assert gate.total == MOST


def test_the_least_is_no_more_than_the_setting() -> None:
    gate = Gate("calls_in_work", 2)
    end_calls(ConcurrencyLimit(gate, LEAST), 200, 2 * TARGET_SECONDS)
    assert gate.total == 2


def test_a_call_must_have_twice_the_time_that_was_too_little() -> None:
    limit, _ = a_limit()
    limit.ended_late(0.3)
    limit.ended_late(0.1)
    assert limit.needed_seconds == 0.6


def test_the_time_that_a_call_must_have_becomes_what_calls_take() -> None:
    limit, _ = a_limit()
    limit.ended_late(0.3)
    end_calls(limit, 3_000, 0.01)
    assert limit.needed_seconds == pytest.approx(0.01, rel=0.01)


class _Context:
    """What a visit asks of its call."""

    def __init__(self, left: float) -> None:
        self.left = left

    def time_remaining(self) -> float:
        return self.left


@pytest.fixture
def admission() -> Admission:
    settings: Any = SimpleNamespace(**SETTINGS)
    return Admission(settings, expensive=1)


def a_call(admission: Admission, left: float) -> tuple[Visit, _Context]:
    """Admit a call whose caller waits for so many more seconds."""
    context = _Context(left)
    return admission.enter(None, Load.WRITE, cast(Any, context)), context


async def test_a_call_with_less_time_than_calls_need_is_refused_at_once(
    admission: Admission,
) -> None:
    first, _ = a_call(admission, 2)
    await first.begin_work()
    admission.work_limit.ended_late(TARGET_SECONDS)
    late, _ = a_call(admission, TARGET_SECONDS)
    async with asyncio.timeout(30):
        with pytest.raises(ResourceExhausted) as refused:
            await late.begin_work()
    assert refused.value.reason == "TOO_MANY_CALLS"
    first.end_work()
    await late.begin_work()  # where none is in work it is tried


async def test_a_call_that_ends_after_its_callers_deadline_needed_more_time(
    admission: Admission,
) -> None:
    call, context = a_call(admission, 1.5)
    await call.begin_work()
    context.left = 0
    call.end_work()
    assert admission.work_limit.needed_seconds == 3
