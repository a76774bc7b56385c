"""Committing batches: a large one alone, small ones together with what other callers send.

While a tenant's group is being committed, what arrives waits and is the next group, for which some
milliseconds more are given: a call waits for no one where there is no load, and at most for a
commit and LINGER_SECONDS where there is (group commit). When anything in a group is refused, its
members are committed one by one, so that each has its own answer and error.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from chassis.database import Connection, Pool, tenant_transaction
from chassis.outbox import Relay
from services.activity import store
from services.activity.batch import ID_TAKEN, Batch, Columns
from services.activity.partitions import Partitions
from services.activity.store import Recorded

SMALL = 50
MOST_TOGETHER = 2_000
LINGER_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class _Waiting:
    batch: Batch
    partial: bool
    done: asyncio.Future[None]


class Recorder:
    """Writes batches to the log; their outcome stands in the batch."""

    def __init__(self, pool: Pool, relay: Relay, partitions: Partitions) -> None:
        self._pool = pool
        self._relay = relay
        self._partitions = partitions
        self._waiting: dict[UUID, list[_Waiting]] = defaultdict(list)
        self._flushing: dict[UUID, asyncio.Task[None]] = {}

    async def record(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> None:
        """Return after COMMIT; raise InvalidArgument for the faults of one not partial."""
        if batch.refused and not partial:
            raise batch.refusal()
        if len(batch.columns) > SMALL:
            await self._record_alone(tenant_id, batch, partial=partial)
        elif len(batch.columns):
            done = asyncio.get_running_loop().create_future()
            self._waiting[tenant_id].append(_Waiting(batch, partial, done))
            self._flush_soon(tenant_id)
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

    async def cover(self, columns: Columns) -> None:
        """Make the months that the entries need."""
        await self._partitions.cover(columns.created_at)

    async def _record_alone(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> None:
        await self.cover(batch.columns)
        while True:
            try:
                async with tenant_transaction(self._pool, tenant_id) as connection:
                    await self.record_in(connection, tenant_id, batch, partial=partial)
                break
            except store.UNSTORABLE as error:
                await self.refuse_unstorable(batch, error)
                if not partial:
                    raise batch.refusal() from None
        self._relay.wake()

    def _flush_soon(self, tenant_id: UUID) -> None:
        if tenant_id not in self._flushing:
            self._flushing[tenant_id] = asyncio.create_task(self._flush_all(tenant_id))

    async def _flush_all(self, tenant_id: UUID) -> None:
        """Commit group after group until nobody waits."""
        waiting = self._waiting[tenant_id]
        while waiting:
            await self._flush(tenant_id, _take_group(waiting))
            if waiting:
                await asyncio.sleep(LINGER_SECONDS)
        del self._flushing[tenant_id], self._waiting[tenant_id]

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
        await self.cover(together)
        try:
            async with tenant_transaction(self._pool, tenant_id) as connection:
                recorded = await store.record(connection, tenant_id, together)
                if recorded.conflicting:
                    raise _OneByOne
        except (*store.UNSTORABLE, _OneByOne):
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


def _take_group(waiting: list[_Waiting]) -> list[_Waiting]:
    group: list[_Waiting] = []
    size = 0
    while waiting and size + len(waiting[0].batch.columns) <= MOST_TOGETHER:
        size += len(waiting[0].batch.columns)
        group.append(waiting.pop(0))
    return group


def _slice(recorded: Recorded, start: int, end: int) -> Recorded:
    """Return a member's part of what became of a group without conflicts."""
    duplicates = frozenset(place - start for place in recorded.duplicates if start <= place < end)
    return Recorded(end - start - len(duplicates), duplicates)


def _settle(batch: Batch, recorded: Recorded) -> None:
    batch.recorded_count = recorded.added_count
    batch.duplicates = {batch.places[place] for place in recorded.duplicates}
    if recorded.conflicting:
        batch.refuse((place, ID_TAKEN) for place in recorded.conflicting)
