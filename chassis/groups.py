"""Group commit: what comes in for a tenant while a transaction of its runs goes together.

No one waits where there is no load, and under load a transaction carries many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

LANES = 2
ENOUGH = 4
"""So many wait before a second transaction runs beside the first."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class Waiting(Generic[T, R]):
    """A piece of work, and who waits for its result."""

    work: T
    done: asyncio.Future[R]


class Groups(Generic[T, R]):
    """Commits work by tenant; `commit` returns a result, or an error, for each piece in order."""

    def __init__(
        self, commit: Callable[[UUID, Sequence[T]], Awaitable[Sequence[R | Exception]]], most: int
    ) -> None:
        self._commit = commit
        self._most = most
        self._waiting: dict[UUID, list[Waiting[T, R]]] = {}
        self._flushing: dict[UUID, set[asyncio.Task[None]]] = {}

    async def do(self, tenant_id: UUID, work: T) -> R:
        """Return when the work is committed."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, []).append(Waiting(work, done))
        lanes = self._flushing.setdefault(tenant_id, set())
        if len(lanes) < LANES and (not lanes or len(self._waiting[tenant_id]) >= ENOUGH):
            lanes.add(asyncio.create_task(self._flush_all(tenant_id)))
        return await done

    async def _flush_all(self, tenant_id: UUID) -> None:
        """Commit group after group until nobody waits."""
        try:
            await asyncio.sleep(0)  # what is ready in this pass of the loop goes along
            while waiting := self._waiting.pop(tenant_id, None):
                group, rest = waiting[: self._most], waiting[self._most :]
                if rest:
                    self._waiting[tenant_id] = rest + self._waiting.get(tenant_id, [])
                await self._flush(tenant_id, group)
        finally:
            lanes = self._flushing[tenant_id]
            lanes.discard(asyncio.current_task())
            if not lanes:
                del self._flushing[tenant_id]

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
