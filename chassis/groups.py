"""Group commit: what comes in for a tenant while a transaction of its runs goes together.

No one waits where there is no load, and under load a transaction carries many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

ENOUGH = 4
"""So many wait before a second transaction runs beside the first."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class Waiting(Generic[T, R]):
    """A piece of work, and who waits for its result."""

    work: T
    done: asyncio.Future[R]


@dataclass(slots=True)
class _Queue(Generic[T, R]):
    """What waits for a tenant's next transaction."""

    waiting: list[Waiting[T, R]] = field(default_factory=list)
    lanes: set[asyncio.Task[None]] = field(default_factory=set)
    wanted: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, most: int) -> list[Waiting[T, R]]:
        group, self.waiting = self.waiting[:most], self.waiting[most:]
        return group

    async def fill(self, last: int, seconds: float) -> None:
        """Wait for the last group's callers to come again, but not for long."""
        self.wanted = last + len(self.waiting)
        self.enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.enough.wait()


class Groups(Generic[T, R]):
    """Commits work by tenant; `commit` returns a result, or an error, for each piece in order.

    At most `lanes` transactions of a tenant run at once. Where a group costs much, it is worth to
    wait: with `linger_seconds`, one that others wait for already is committed when as many as in
    the last one have come again, or so much later.
    """

    def __init__(
        self,
        commit: Callable[[UUID, Sequence[T]], Awaitable[Sequence[R | Exception]]],
        most: int,
        *,
        lanes: int = 2,
        linger_seconds: float = 0.0,
    ) -> None:
        self._commit = commit
        self._most = most
        self._lanes = lanes
        self._linger_seconds = linger_seconds
        self._queues: dict[UUID, _Queue[T, R]] = {}

    async def do(self, tenant_id: UUID, work: T) -> R:
        """Return when the work is committed."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(tenant_id)
        if queue is None:
            queue = self._queues[tenant_id] = _Queue()
        queue.waiting.append(Waiting(work, done))
        lanes, waiting = len(queue.lanes), len(queue.waiting)
        if not lanes or (lanes < self._lanes and waiting >= ENOUGH):
            queue.lanes.add(asyncio.create_task(self._flush_all(tenant_id, queue)))
        elif waiting >= queue.wanted:
            queue.enough.set()
        return await done

    async def _flush_all(self, tenant_id: UUID, queue: _Queue[T, R]) -> None:
        """Commit group after group until nobody waits."""
        try:
            await asyncio.sleep(0)  # what is ready in this pass of the loop goes along
            while group := queue.take(self._most):
                await self._flush(tenant_id, group)
                if self._linger_seconds and queue.waiting:
                    await queue.fill(len(group), self._linger_seconds)
        finally:
            queue.lanes.remove(asyncio.current_task())  # type: ignore[arg-type]
            if not queue.lanes:
                del self._queues[tenant_id]

    async def _flush(self, tenant_id: UUID, group: Sequence[Waiting[T, R]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await self._commit(tenant_id, [each.work for each in group])
        except Exception as error:
            results = [error] * len(group)
        for each, result in zip(group, results, strict=True):
            if each.done.done():
                continue  # cancelled
            if isinstance(result, Exception):
                each.done.set_exception(result)
            else:
                each.done.set_result(result)
