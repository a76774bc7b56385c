"""Committing batches: a large one alone, small ones together with what other callers send.

When anything in a group is refused, its members are committed one by one, so that each has its own
answer and error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import asyncpg

from chassis.database import Connection, Pool, tenant_transaction
from chassis.group_commit import GroupCommit
from chassis.outbox import Relay
from chassis.transient import TRANSIENT
from services.activity.entries.batch import ID_TAKEN, Batch, Columns
from services.activity.months.partitions import Partitions
from services.activity.recording import store
from services.activity.recording.store import Recorded

T = TypeVar("T")
SMALL = 50
MOST_TOGETHER = 200
LINGER_SECONDS = 0.005
_Member = tuple[Batch, bool]  # with whether it may be recorded in part


class Recorder:
    """Writes batches to the log; their outcome stands in the batch."""

    def __init__(self, pool: Pool, relay: Relay, partitions: Partitions) -> None:
        self._pool = pool
        self._relay = relay
        self._partitions = partitions
        self._groups: GroupCommit[_Member, None] = GroupCommit(
            self._commit, MOST_TOGETHER, max_parallel=1, linger_seconds=LINGER_SECONDS
        )

    async def record(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> None:
        """Return after COMMIT; raise InvalidArgument for the faults of one not partial."""
        if batch.refused and not partial:
            raise batch.refusal()
        if len(batch.columns) > SMALL:
            await self.record_alone(tenant_id, batch, partial=partial)
        elif len(batch.columns):
            await self._groups.submit(tenant_id, (batch, partial))

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

    async def record_alone(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> None:
        """Do the same without waiting for others."""

        async def transaction() -> None:
            if recorded := await self._write_new(tenant_id, batch.columns):
                _settle(batch, recorded)
                return
            async with tenant_transaction(self._pool, tenant_id) as connection:
                await self.record_in(connection, tenant_id, batch, partial=partial)

        while len(batch.columns):
            try:
                await self.covering(batch, transaction)
                break
            except store.UNSTORABLE as error:
                await self.refuse_unstorable(batch, error)
                if not partial:
                    raise batch.refusal() from None
        self._relay.wake()

    async def _write_new(self, tenant_id: UUID, columns: Columns) -> Recorded | None:
        """Write entries in one round trip; None means that a key is taken, and none is written."""
        try:
            return await store.record_new(self._pool, tenant_id, columns)
        except asyncpg.UniqueViolationError:
            return None

    async def _commit(
        self, tenant_id: UUID, group: Sequence[_Member]
    ) -> Sequence[Exception | None]:
        if await self._commit_together(tenant_id, [batch for batch, _ in group]):
            return [None] * len(group)
        return [await self._commit_one(tenant_id, *each) for each in group]

    async def _commit_together(self, tenant_id: UUID, group: Sequence[Batch]) -> bool:
        """Commit a group in one transaction; False means that it has to be done one by one."""
        together = Columns()
        for batch in group:
            together.extend(batch.columns)
        try:
            await self._partitions.cover(together.created_at)
            recorded = await self._write_new(tenant_id, together)
            if not recorded:
                async with tenant_transaction(self._pool, tenant_id) as connection:
                    recorded = await store.record(connection, tenant_id, together)
                    if recorded.conflicting:
                        raise _OneByOne
        except TRANSIENT:
            raise
        except Exception:  # whatever is wrong with one, the others are recorded
            return False
        self._relay.wake()
        start = 0
        for batch in group:
            end = start + len(batch.columns)
            _settle(batch, _slice(recorded, start, end))
            start = end
        return True

    async def _commit_one(self, tenant_id: UUID, batch: Batch, partial: bool) -> Exception | None:
        try:
            await self.record_alone(tenant_id, batch, partial=partial)
        except Exception as error:
            return error
        return None


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
