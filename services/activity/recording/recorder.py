"""Appending batches to the log: a large one by itself, small ones with those of other callers.

Where anything in a group cannot be appended, its batches are appended one by one, so that each
caller gets its own answer or error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import asyncpg

from chassis.database import Connection, Pool, tenant_transaction
from chassis.group_commit import GroupCommit
from chassis.outbox import Relay
from chassis.transient import ABORTED, TRANSIENT
from services.activity.entries.batch import ID_TAKEN, Batch, Columns
from services.activity.months.partitions import Partitions
from services.activity.recording import store
from services.activity.recording.store import Appended

T = TypeVar("T")
# Batches of at most so many entries share a transaction.
SMALL_ENTRIES = 50
MAX_GROUP = 200
LINGER_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: `batch` has what can stand in the log, and what was refused."""

    batch: Batch
    added_count: int = 0
    duplicate_places: frozenset[int] = frozenset()

    @classmethod
    def of(cls, batch: Batch, appended: Appended) -> Recorded:
        """Return the outcome of a batch whose columns were appended so."""
        duplicates = frozenset(batch.places[each] for each in appended.duplicates)
        if appended.conflicting:
            batch = batch.without((each, ID_TAKEN) for each in appended.conflicting)
        return cls(batch, appended.added_count, duplicates)


@dataclass(frozen=True, slots=True)
class _Member:
    """A batch in a group, and whether it may be recorded in part."""

    batch: Batch
    partial: bool


class Recorder:
    """Appends batches to the log and says what became of each."""

    def __init__(self, pool: Pool, relay: Relay, partitions: Partitions) -> None:
        self._pool = pool
        self._relay = relay
        self._partitions = partitions
        self._groups: GroupCommit[_Member, Recorded] = GroupCommit(
            self._commit, MAX_GROUP, max_parallel=1, linger_seconds=LINGER_SECONDS
        )

    async def append(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> Recorded:
        """Append a batch, in a group where it is small; return after COMMIT.

        Raises InvalidArgument for the faults of a batch that must not be recorded in part.
        """
        if batch.refused and not partial:
            raise batch.refusal()
        if len(batch.columns) > SMALL_ENTRIES:
            return await self.append_now(tenant_id, batch, partial=partial)
        if len(batch.columns):
            return await self._groups.submit(tenant_id, _Member(batch, partial))
        return Recorded(batch)

    async def append_in(
        self, connection: Connection, tenant_id: UUID, batch: Batch, *, partial: bool
    ) -> Recorded:
        """Append a batch in the caller's transaction, whose failure leaves nothing behind."""
        if not len(batch.columns):
            return Recorded(batch)
        appended = await store.append_or_skip(connection, tenant_id, batch.columns)
        recorded = Recorded.of(batch, appended)
        if appended.conflicting and not partial:
            raise recorded.batch.refusal()
        return recorded

    async def append_now(self, tenant_id: UUID, batch: Batch, *, partial: bool) -> Recorded:
        """Append a batch at once, outside group commit."""

        async def transaction() -> Recorded:
            if appended := await self._append_all_new(tenant_id, batch.columns):
                return Recorded.of(batch, appended)
            async with tenant_transaction(self._pool, tenant_id) as connection:
                return await self.append_in(connection, tenant_id, batch, partial=partial)

        while len(batch.columns):
            try:
                recorded = await self.covering(batch, transaction)
            except store.UNSTORABLE as error:
                batch = await self.without_unstorable(batch, error, partial=partial)
            else:
                self._relay.wake()
                return recorded
        return Recorded(batch)

    async def without_unstorable(self, batch: Batch, error: Exception, *, partial: bool) -> Batch:
        """Return a batch without what PostgreSQL does not take; raise `error` where it takes all.

        Raises InvalidArgument instead for a batch that must not be recorded in part.
        """
        async with self._pool.acquire() as connection:
            faults = await store.find_unstorable(connection, batch.columns)
        if not faults:
            raise error
        remaining = batch.without(faults)
        if not partial:
            raise remaining.refusal() from None
        return remaining

    async def covering(self, batch: Batch, transaction: Callable[[], Awaitable[T]]) -> T:
        """Run a transaction that appends a batch, with the months that its entries need."""
        return await self._partitions.covering(batch.columns.created_at, transaction)

    async def _append_all_new(self, tenant_id: UUID, columns: Columns) -> Appended | None:
        """Append in one round trip; None means that a key is taken, and nothing was appended."""
        try:
            return await store.append_all_new(self._pool, tenant_id, columns)
        except asyncpg.UniqueViolationError:
            return None

    async def _commit(
        self, tenant_id: UUID, group: Sequence[_Member]
    ) -> Sequence[Recorded | Exception]:
        together = await self._commit_together(tenant_id, [each.batch for each in group])
        return together or [await self._commit_one(tenant_id, each) for each in group]

    async def _commit_together(
        self, tenant_id: UUID, group: Sequence[Batch]
    ) -> Sequence[Recorded] | None:
        """Commit a group in one transaction; None means that it must be done one by one."""
        together = Columns()
        for batch in group:
            together.extend(batch.columns)
        try:
            await self._partitions.cover(together.created_at)
            appended = await self._append_all_new(tenant_id, together)
            if not appended:
                async with tenant_transaction(self._pool, tenant_id) as connection:
                    appended = await store.append_or_skip(connection, tenant_id, together)
                    if appended.conflicting:
                        raise _OneByOne
        except ABORTED:
            return None
        except TRANSIENT:
            raise
        except Exception:  # whatever is wrong with one batch, the others are appended
            return None
        self._relay.wake()
        return _share(appended, group)

    async def _commit_one(self, tenant_id: UUID, member: _Member) -> Recorded | Exception:
        try:
            return await self.append_now(tenant_id, member.batch, partial=member.partial)
        except Exception as error:
            return error


class _OneByOne(Exception):
    """A group cannot be committed together."""


def _share(appended: Appended, group: Sequence[Batch]) -> list[Recorded]:
    """Return each batch's part of what became of a group without conflicts."""
    shares, start = [], 0
    for batch in group:
        end = start + len(batch.columns)
        duplicates = frozenset(each - start for each in appended.duplicates if start <= each < end)
        shares.append(Recorded.of(batch, Appended(end - start - len(duplicates), duplicates)))
        start = end
    return shares
