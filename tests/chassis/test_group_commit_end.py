"""Group commit keeps nothing of a tenant whose work is done, and everything of one whose is not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

from chassis.group_commit import GroupCommit

TENANT = uuid.UUID(int=7)


async def test_nothing_is_kept_of_a_tenant_whose_work_is_done() -> None:
    async def commit(tenant_id: uuid.UUID, work: Sequence[int]) -> Sequence[int]:
        return work

    groups = GroupCommit[int, int](commit, 10)
    assert await groups.submit(TENANT, 1) == 1
    await asyncio.sleep(0)
    assert groups._queues == {}


async def test_work_joins_a_tenants_other_transaction_when_one_has_ended() -> None:
    slow, sizes = asyncio.Event(), list[int]()

    async def commit(tenant_id: uuid.UUID, work: Sequence[int]) -> Sequence[int]:
        sizes.append(len(work))
        if 1 in work:
            await slow.wait()
        return work

    groups = GroupCommit[int, int](commit, 10)
    first = asyncio.create_task(groups.submit(TENANT, 1))
    await asyncio.sleep(0.005)
    await asyncio.gather(*(groups.submit(TENANT, n) for n in range(2, 8)))
    waiting = asyncio.create_task(groups.submit(TENANT, 9))
    await asyncio.sleep(0.005)
    assert not waiting.done()
    slow.set()
    assert list(await asyncio.gather(first, waiting)) == [1, 9]
    assert sizes == [1, 6, 1]
