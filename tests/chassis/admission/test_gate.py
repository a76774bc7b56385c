"""A gate gives parts of an amount: not too much, not to one tenant alone, in turns."""

from __future__ import annotations

import asyncio

from chassis.admission.gate import Gate
from chassis.admission.tenants import Load, Tenant
from chassis.errors import Limit

RATES = dict.fromkeys(Load, 0.0)


def a_tenant(share: float = 0.5) -> Tenant:
    return Tenant(None, share, RATES)


def a_gate(total: int) -> Gate:
    return Gate("things", total)


async def begun(
    gate: Gate, tenant: Tenant, count: int, amount: int = 1
) -> list[asyncio.Task[bool]]:
    """Begin to wait, so many times."""
    tasks = [asyncio.create_task(gate.take(tenant, amount, 30)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_a_tenant_takes_at_most_its_share() -> None:
    gate, ours, theirs = a_gate(4), a_tenant(), a_tenant()
    assert [gate.take_now(ours, 1) for _ in range(3)] == [True, True, False]
    assert [gate.take_now(theirs, 1) for _ in range(3)] == [True, True, False]


def test_what_is_kept_is_for_tenants_that_hold_little() -> None:
    gate, ours, theirs, third = Gate("things", 100, 20), a_tenant(), a_tenant(), a_tenant()
    assert [gate.take_now(each, 40) for each in (ours, theirs)] == [True, True]
    assert [gate.take_now(each, 1) for each in (ours, theirs)] == [False, False]
    assert [gate.take_now(third, 1) for _ in range(3)] == [True, True, False]
    assert gate.limit_met(third) == Limit("things", "replica", 100)


def test_what_is_given_back_can_be_taken_again() -> None:
    gate, ours = a_gate(2), a_tenant(1.0)
    assert gate.take_now(ours, 2)
    gate.give(ours, 2)
    assert gate.held == 0
    assert gate.take_now(ours, 2)


def test_what_is_more_than_the_limit_goes_alone() -> None:
    gate, ours, theirs = a_gate(4), a_tenant(), a_tenant()
    assert gate.take_now(ours, 10)
    assert not gate.take_now(theirs, 1)
    gate.give(ours, 10)
    assert gate.take_now(theirs, 1)
    assert not gate.take_now(ours, 10)


async def test_who_waits_gets_what_is_given_back_in_its_tenants_turn() -> None:
    gate, ours, theirs = a_gate(2), a_tenant(1.0), a_tenant(1.0)
    assert gate.take_now(ours, 2)
    many, one = await begun(gate, ours, 3), await begun(gate, theirs, 1)
    gate.give(ours, 1)
    await one[0]  # who holds nothing is first
    gate.give(ours, 1)
    await many[0]
    assert not any(each.done() for each in many[1:])
    gate.give(theirs, 1)
    await many[1]
    many[2].cancel()


async def test_nobody_passes_an_earlier_call_of_the_tenant() -> None:
    gate, ours = a_gate(4), a_tenant(1.0)
    assert gate.take_now(ours, 3)
    (large,) = await begun(gate, ours, 1, amount=2)
    assert not gate.take_now(ours, 1)
    gate.give(ours, 3)
    await large
    assert gate.take_now(ours, 1)


async def test_who_waits_too_long_is_told_whose_limit_it_was() -> None:
    gate, ours, theirs = a_gate(4), a_tenant(), a_tenant()
    assert gate.take_now(ours, 2)
    assert not await gate.take(ours, 1, 0.01)
    assert gate.limit_met(ours) == Limit("things", "tenant:none", 2)
    assert await gate.take(theirs, 2, 0.01)
    assert not await gate.take(a_tenant(), 1, 0.01)
    assert gate.limit_met(theirs) == Limit("things", "replica", 4)
    gate.give(ours, 2)
    gate.give(theirs, 2)
    assert gate.held == 0


async def test_a_call_that_ends_while_it_waits_leaves_nothing() -> None:
    gate, ours = a_gate(2), a_tenant(1.0)
    assert gate.take_now(ours, 2)
    gone, granted, stays = await begun(gate, ours, 3)
    gone.cancel()
    await asyncio.wait([gone])
    gate.give(ours, 1)
    granted.cancel()  # as it is granted its part
    await asyncio.wait([granted])
    await stays
    gate.give(ours, 1)
    gate.give(ours, 1)
    assert gate.held == 0


async def test_a_call_that_is_broken_off_as_a_part_comes_free_is_passed_over() -> None:
    gate, ours = a_gate(2), a_tenant(1.0)
    assert gate.take_now(ours, 2)
    gone, stays = await begun(gate, ours, 2)
    gone.cancel()
    gate.give(ours, 1)  # before the call that was broken off has run
    assert await stays
    await asyncio.wait([gone])
    gate.give(ours, 1)
    gate.give(ours, 1)
    assert gate.held == 0
    assert gate.take_now(ours, 2)


async def test_who_holds_least_is_given_a_part_first() -> None:
    gate, ours, theirs = a_gate(3), a_tenant(1), a_tenant(1)
    assert gate.take_now(ours, 3)
    (mine,) = await begun(gate, ours, 1)
    (others,) = await begun(gate, theirs, 1)
    gate.give(ours, 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (mine.done(), others.done()) == (False, True)
    mine.cancel()
