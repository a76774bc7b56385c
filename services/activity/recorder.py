"""Committing batches: a large one alone, small ones together with what other callers send.

While a tenant's group is being committed, what arrives waits and is the next group (group
commit). It is committed when the callers of the last group may have come again, or LINGER_SECONDS
later: a call waits for no one where there is no load, and little where there is. A group costs as
much as three calls, so that larger ones are worth the wait. When anything in a group
is refused, its members are committed one by one, so that each has its own answer and error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from chassis.database import Connection, Pool, tenant_transaction
from chassis.errors import AWAY
from chassis.outbox import Relay
from services.activity import store
from services.activity.batch import ID_TAKEN, Batch, Columns
from services.activity.partitions import Partitions
from services.activity.store import Recorded

T = TypeVar("T")
SMALL = 50
MOST_TOGETHER = 200
LINGER_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class _Waiting:
    batch: Batch
    partial: bool
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Queue:
    """A tenant's calls that wait for the group that is being committed."""

    waiting: list[_Waiting]
    wanted: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    flushing: asyncio.Task[None] | None = None

    def add(self, waiting: _Waiting) -> None:
        """Take a place in the next group."""
        self.waiting.append(waiting)
        if len(self.waiting) >= self.wanted:
            self.enough.set()

    def take(self) -> list[_Waiting]:
        """Return the next group, without those who gave up."""
        self.waiting = [each for each in self.waiting if not each.done.done()]
        group, self.waiting = self.waiting[:MOST_TOGETHER], self.waiting[MOST_TOGETHER:]
        self.wanted = len(group)
        self.enough.clear()
        return group

    async def fill(self) -> None:
        """Wait for the last group's callers to come again where others wait, but not for long."""
        self.wanted += len(self.waiting)
        if self.wanted > len(self.waiting) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.enough.wait(), LINGER_SECONDS)


class Recorder:
    """Writes batches to the log; their outcome stands in the batch."""

    def __init__(self, pool: Pool, relay: Relay, partitions: Partitions) -> None:
        self._pool = pool
        self._relay = relay
        self._partitions = partitions
        self._queues: dict[UUID, _Queue] = {}

    async def record(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> None:
        """Return after COMMIT; raise InvalidArgument for the faults of one not partial."""
        if batch.refused and not partial:
            raise batch.refusal()
        if len(batch.columns) > SMALL:
            await self._record_alone(tenant_id, batch, partial=partial)
        elif len(batch.columns):
            done = asyncio.get_running_loop().create_future()
            self._enqueue(tenant_id, _Waiting(batch, partial, done))
            await done

    async def record_in(
        self, connection: Connection, tenant_id: UUID, batch: Batch, *, partial: bool
    ) -> None:
        """Write a batch in the caller's transaction, whose failure leaves nothing behind."""
        if not len(batch.columns):
            return
        recorded = await store.record(connection, tenant_id, batch.columns)
        if recorded.conflicting and not partial:
            batch.refuse((place, ID_TAKEN) for place in recorded.conflicting)
            raise batch.refusal()
        _settle(batch, recorded)

    async def refuse_unstorable(self, batch: Batch, error: Exception) -> None:
        """Take out what Postgres does not take; raise `error` where that is nothing."""
        async with self._pool.acquire() as connection:
            faults = await store.find_unstorable(connection, batch.columns)
        if not faults:
            raise error
        batch.refuse(faults)

    async def covering(self, batch: Batch, transaction: Callable[[], Awaitable[T]]) -> T:
        """Run a transaction that writes a batch, with the months that its entries need."""
        return await self._partitions.covering(batch.columns.created_at, transaction)

    async def _record_alone(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> None:
        async def transaction() -> None:
            async with tenant_transaction(self._pool, tenant_id) as connection:
                await self.record_in(connection, tenant_id, batch, partial=partial)

        while True:
            try:
                await self.covering(batch, transaction)
                break
            except store.UNSTORABLE as error:
                await self.refuse_unstorable(batch, error)
                if not partial:
                    raise batch.refusal() from None
        self._relay.wake()

    def _enqueue(self, tenant_id: UUID, waiting: _Waiting) -> None:
        queue = self._queues.get(tenant_id)
        if queue:
            queue.add(waiting)
            return
        queue = self._queues[tenant_id] = _Queue([waiting])
        queue.flushing = asyncio.create_task(self._flush_all(tenant_id, queue))

    async def _flush_all(self, tenant_id: UUID, queue: _Queue) -> None:
        """Commit group after group until nobody waits."""
        while group := queue.take():
            await self._flush(tenant_id, group)
            await queue.fill()
        del self._queues[tenant_id]

    async def _flush(self, tenant_id: UUID, group: list[_Waiting]) -> None:
        """Commit a group; every caller gets an answer, whatever happens."""
        try:
            if not await self._commit_together(tenant_id, group):
                for each in group:
                    await self._commit_one(tenant_id, each)
        except Exception as error:
            for each in group:
                if not each.done.done():
                    each.done.set_exception(error)

    async def _commit_together(self, tenant_id: UUID, group: list[_Waiting]) -> bool:
        """Commit a group in one transaction; False means that it has to be done one by one."""
        together = Columns()
        for each in group:
            together.extend(each.batch.columns)
        await self._partitions.cover(together.created_at)
        try:
            async with tenant_transaction(self._pool, tenant_id) as connection:
                recorded = await store.record(connection, tenant_id, together)
                if recorded.conflicting:
                    raise _OneByOne
        except AWAY:
            raise
        except Exception:  # whatever is wrong with one, the others are recorded
            return False
        self._relay.wake()
        start = 0
        for each in group:
            end = start + len(each.batch.columns)
            _settle(each.batch, _slice(recorded, start, end))
            start = end
            if not each.done.done():  # the caller may have gone
                each.done.set_result(None)
        return True

    async def _commit_one(self, tenant_id: UUID, waiting: _Waiting) -> None:
        try:
            await self._record_alone(tenant_id, waiting.batch, partial=waiting.partial)
        except Exception as error:
            if not waiting.done.done():
                waiting.done.set_exception(error)
        else:
            if not waiting.done.done():
                waiting.done.set_result(None)


class _OneByOne(Exception):
    """A group cannot be committed together."""


def _slice(recorded: Recorded, start: int, end: int) -> Recorded:
    """Return a member's part of what became of a group without conflicts."""
    duplicates = frozenset(place - start for place in recorded.duplicates if start <= place < end)
    return Recorded(end - start - len(duplicates), duplicates)


def _settle(batch: Batch, recorded: Recorded) -> None:
    batch.recorded_count = recorded.added_count
    batch.duplicates = {batch.places[place] for place in recorded.duplicates}
    if recorded.conflicting:
        batch.refuse((place, ID_TAKEN) for place in recorded.conflicting)
