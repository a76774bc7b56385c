"""Group commit: work that arrives while a tenant's transaction runs shares the next transaction.

Without load nobody waits; under load one transaction carries the work of many callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

PARALLEL_FROM = 4
"""How many callers must wait before a second transaction runs beside the first."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Waiting(Generic[T, R]):
    """Work, and the caller that waits for its result."""

    work: T
    done: asyncio.Future[R]


@dataclass(slots=True)
class _Queue(Generic[T, R]):
    """The callers that wait for a tenant's next transaction."""

    waiting: list[_Waiting[T, R]] = field(default_factory=list)
    flushing: set[asyncio.Task[None]] = field(default_factory=set)
    target: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, max_group: int) -> list[_Waiting[T, R]]:
        group, self.waiting = self.waiting[:max_group], self.waiting[max_group:]
        return group

    async def linger(self, last_group: int, seconds: float) -> None:
        """Wait until as many callers as in the last group have come again, but not for long."""
        self.target = last_group + len(self.waiting)
        self.full.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.full.wait()


class GroupCommit(Generic[T, R]):
    """Commits work in groups, by tenant.

    `commit` returns a result or an error for the work of each, in order. At most `max_parallel`
    transactions of a tenant run at once. Where a transaction costs much, a fuller group is worth a
    wait: with `linger_seconds`, a group that follows another is committed once as many callers as
    in the last group have come again, or after that time.
    """

    def __init__(
        self,
        commit: Callable[[UUID, Sequence[T]], Awaitable[Sequence[R | Exception]]],
        max_group: int,
        *,
        max_parallel: int = 2,
        linger_seconds: float = 0.0,
    ) -> None:
        self._commit = commit
        self._max_group = max_group
        self._max_parallel = max_parallel
        self._linger_seconds = linger_seconds
        self._queues: dict[UUID, _Queue[T, R]] = {}

    async def submit(self, tenant_id: UUID, work: T) -> R:
        """Return the result of the work once it is committed; raise the error where it failed."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(tenant_id)
        if queue is None:
            queue = self._queues[tenant_id] = _Queue()
        queue.waiting.append(_Waiting(work, done))
        parallel, waiting = len(queue.flushing), len(queue.waiting)
        if not parallel or (parallel < self._max_parallel and waiting >= PARALLEL_FROM):
            queue.flushing.add(asyncio.create_task(self._flush_all(tenant_id, queue)))
        elif waiting >= queue.target:
            queue.full.set()
        return await done

    async def _flush_all(self, tenant_id: UUID, queue: _Queue[T, R]) -> None:
        """Commit group after group until nobody waits."""
        try:
            await asyncio.sleep(0)  # work that is ready in this pass of the loop joins the group
            while group := queue.take(self._max_group):
                await self._flush(tenant_id, group)
                if self._linger_seconds and queue.waiting:
                    await queue.linger(len(group), self._linger_seconds)
        finally:
            queue.flushing.remove(asyncio.current_task())  # type: ignore[arg-type]
            if not queue.flushing:
                del self._queues[tenant_id]

    async def _flush(self, tenant_id: UUID, group: Sequence[_Waiting[T, R]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await self._commit(tenant_id, [each.work for each in group])
        except Exception as error:
            results = [error] * len(group)
        for each, result in zip(group, results, strict=True):
            if each.done.done():
                continue  # its caller was cancelled
            if isinstance(result, Exception):
                each.done.set_exception(result)
            else:
                each.done.set_result(result)
