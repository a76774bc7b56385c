"""One timer ends every call whose time is over, and no other."""

from __future__ import annotations

import asyncio

from chassis.admission.deadlines import Deadlines


async def a_call(deadlines: Deadlines, until: asyncio.Event) -> str:
    """Wait for the event, as a call that is given its time."""
    task = deadlines.begin()
    try:
        await until.wait()
        return "answered"
    except asyncio.CancelledError:
        return "late" if deadlines.over(task) else "cancelled"
    finally:
        deadlines.end(task)


async def test_every_call_ends_that_is_not_answered_in_time() -> None:
    deadlines, never = Deadlines(0.05), asyncio.Event()
    calls = [asyncio.create_task(a_call(deadlines, never)) for _ in range(3)]
    assert await asyncio.wait_for(asyncio.gather(*calls), 30) == ["late"] * 3


async def test_a_call_that_is_answered_is_let_be_while_an_older_one_ends() -> None:
    deadlines, never, answer = Deadlines(0.05), asyncio.Event(), asyncio.Event()
    older = asyncio.create_task(a_call(deadlines, never))
    younger = asyncio.create_task(a_call(deadlines, answer))
    answer.set()
    outcomes = await asyncio.wait_for(asyncio.gather(older, younger), 30)
    assert list(outcomes) == ["late", "answered"]


async def test_a_later_call_gets_its_time_after_the_timer_has_rested() -> None:
    deadlines, never = Deadlines(0.05), asyncio.Event()
    assert await asyncio.wait_for(a_call_alone(deadlines, never), 30) == "late"
    assert await asyncio.wait_for(a_call_alone(deadlines, never), 30) == "late"


async def a_call_alone(deadlines: Deadlines, until: asyncio.Event) -> str:
    """Run a call in a task of its own."""
    return await asyncio.create_task(a_call(deadlines, until))


async def test_a_call_that_is_cancelled_otherwise_is_not_taken_for_late() -> None:
    deadlines, never = Deadlines(60), asyncio.Event()
    call = asyncio.create_task(a_call(deadlines, never))
    await asyncio.sleep(0)
    call.cancel()
    assert await call == "cancelled"


async def test_a_younger_call_has_its_whole_time_after_an_older_one_ends() -> None:
    deadlines, never = Deadlines(0.05), asyncio.Event()
    older = asyncio.create_task(a_call(deadlines, never))
    await asyncio.sleep(0.03)
    clock = asyncio.get_running_loop().time
    begun = clock()
    assert await asyncio.wait_for(a_call_alone(deadlines, never), 30) == "late"
    assert clock() - begun >= 0.05
    assert await older == "late"


async def test_a_task_that_has_answered_its_call_is_not_cancelled_later() -> None:
    deadlines = Deadlines(0.01)

    async def call_and_clean_up() -> str:
        deadlines.end(deadlines.begin())
        await asyncio.sleep(0.1)
        return "clean"

    assert await asyncio.create_task(call_and_clean_up()) == "clean"
