"""Group commit: what comes while a transaction runs is committed together."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import pytest

from chassis.group_commit import GroupCommit

TENANT, OTHER = uuid.uuid4(), uuid.uuid4()


class Desk:
    """Commits groups of numbers when it is let; a negative number fails alone, zero fails all."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.running = self.most_running = 0
        self.let = asyncio.Event()
        self.let.set()

    async def commit(self, tenant_id: uuid.UUID, work: Sequence[int]) -> Sequence[int | Exception]:
        self.groups.append(list(work))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        await self.let.wait()
        await asyncio.sleep(0.001)
        self.running -= 1
        if 0 in work:
            raise LookupError("all")
        return [each * 10 if each > 0 else ValueError(str(each)) for each in work]


async def begun(groups: GroupCommit[int, int], *work: int) -> list[asyncio.Task[int]]:
    """Have each piece done by a task of its own, and let them begin."""
    tasks = [asyncio.create_task(groups.submit(TENANT, each)) for each in work]
    await asyncio.sleep(0.005)
    return tasks


async def one_waits_for_two(
    desk: Desk, groups: GroupCommit[int, int]
) -> tuple[list[asyncio.Task[int]], list[asyncio.Task[int]]]:
    """Have two pieces committed, and another come meanwhile."""
    desk.let.clear()
    first = await begun(groups, 1, 2)
    waiting = await begun(groups, 3)
    desk.let.set()
    return first, waiting


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_what_comes_alone_is_committed_alone(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10)
    assert [await groups.submit(TENANT, each) for each in (1, 2)] == [10, 20]
    assert desk.groups == [[1], [2]]


async def test_what_comes_while_a_transaction_runs_goes_together(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10, max_parallel=1)
    desk.let.clear()
    tasks = await begun(groups, 1)
    tasks += await begun(groups, 2, 3, 4, 5, 6)
    desk.let.set()
    assert await asyncio.gather(*tasks) == [10, 20, 30, 40, 50, 60]
    assert desk.groups == [[1], [2, 3, 4, 5, 6]]


async def test_a_group_has_at_most_as_many_as_it_may(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 2, max_parallel=1)
    tasks = await begun(groups, 1, 2, 3, 4, 5)
    await asyncio.gather(*tasks)
    assert desk.groups == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("max_parallel", [1, 2])
async def test_as_many_transactions_of_a_tenant_run_at_once_as_may(
    desk: Desk, max_parallel: int
) -> None:
    groups = GroupCommit(desk.commit, 10, max_parallel=max_parallel)
    desk.let.clear()
    tasks = await begun(groups, 1)
    tasks += await begun(groups, *range(2, 20))
    desk.let.set()
    await asyncio.gather(*tasks)
    assert desk.most_running == max_parallel


async def test_a_second_transaction_begins_where_four_wait(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10)
    desk.let.clear()
    tasks = await begun(groups, 1)
    tasks += await begun(groups, 2, 3, 4)
    assert desk.groups == [[1]]
    tasks += await begun(groups, 5)
    assert desk.groups == [[1], [2, 3, 4, 5]]
    desk.let.set()
    await asyncio.gather(*tasks)


async def test_tenants_do_not_wait_for_each_other(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10, max_parallel=1)
    desk.let.clear()
    tasks = [asyncio.create_task(groups.submit(each, 1)) for each in (TENANT, OTHER)]
    await asyncio.sleep(0.005)
    assert desk.running == 2
    desk.let.set()
    await asyncio.gather(*tasks)


async def test_each_piece_has_its_own_error(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10)
    done = await asyncio.gather(*await begun(groups, 1, -2, 3), return_exceptions=True)
    assert [repr(each) for each in done] == ["10", "ValueError('-2')", "30"]


async def test_a_transaction_that_fails_is_everybodys_error(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10)
    done = await asyncio.gather(*await begun(groups, 1, 0), return_exceptions=True)
    assert [type(each) for each in done] == [LookupError, LookupError]
    assert await groups.submit(TENANT, 4) == 40


async def test_one_who_gives_up_does_not_take_the_others_along(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10)
    desk.let.clear()
    leaving, staying = await begun(groups, 1, 2)
    leaving.cancel()
    desk.let.set()
    assert await staying == 20


async def test_a_group_that_lingers_takes_along_who_comes_again(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10, max_parallel=1, linger_seconds=60)
    first, waiting = await one_waits_for_two(desk, groups)
    await asyncio.gather(*first)
    again = await begun(groups, 4) + await begun(groups, 5)
    await asyncio.gather(*waiting, *again)
    assert desk.groups == [[1, 2], [3, 4, 5]]


async def test_a_group_lingers_no_longer_than_it_may(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10, max_parallel=1, linger_seconds=0.05)
    first, waiting = await one_waits_for_two(desk, groups)
    async with asyncio.timeout(30):
        await asyncio.gather(*first, *waiting)
    assert desk.groups == [[1, 2], [3]]


async def test_who_comes_alone_does_not_wait_for_more(desk: Desk) -> None:
    groups = GroupCommit(desk.commit, 10, max_parallel=1, linger_seconds=60)
    async with asyncio.timeout(30):
        await groups.submit(TENANT, 1)
        await groups.submit(TENANT, 2)
    assert desk.groups == [[1], [2]]
