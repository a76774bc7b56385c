"""Verifying a log: every sealed entry against its leaf, and the leaves against the signed root.

It reads a snapshot in parts, so that memory does not grow with the log. SQL compares, and returns
counts and the entries that are not as they were sealed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chassis.database import Connection
from services.activity.proof import checkpoint, merkle, tree
from services.activity.proof.checkpoint import NoteError, Statement
from services.activity.proof.discrepancy import Discrepancy, Kind
from services.activity.proof.merkle import Frontier, Range
from services.activity.proof.tree import TILE_LEVELS, Tree
from services.activity.sql import EARLIEST_TIME, LATEST_TIME, SQL

COMPARE_LEAVES = 25_600  # compared by one statement; whole tiles
# Entries whose batches one statement looks up: many, since batches that overlap in time are read
# again by each statement. PostgreSQL keeps what exceeds its work_mem on disk.
COMPARE_ENTRIES = 500_000
_LAST_ID = UUID(int=(1 << 128) - 1)
# The states in which SQL finds an entry that is not as it was sealed.
_WRONG = {
    "altered": (Kind.ALTERED, "its content does not have the sealed hash"),
    "moved": (Kind.ALTERED, "it names another batch than the one in which it was sealed"),
    "removed": (Kind.REMOVED, "it was sealed, is missing, and has not expired"),
    "inserted": (Kind.INSERTED, "no sealed batch holds it"),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of the sealed entries have been compared."""

    checked_count: int
    total_count: int


@dataclass(frozen=True, slots=True)
class Question:
    """Whose log is verified, which entries are compared, and since when none may be missing."""

    tenant_id: UUID
    keys: tuple[Ed25519PublicKey, ...]
    kept_since: datetime
    start: datetime = EARLIEST_TIME
    end: datetime = LATEST_TIME


@dataclass(slots=True)
class Verification:
    """A verification of one log; its counts are complete when `run` has ended."""

    connection: Connection
    question: Question
    counts: Counter[str] = field(default_factory=Counter)
    discrepancy_count: int = 0
    computed: Frontier = field(default_factory=Frontier)

    async def run(self) -> AsyncIterator[Progress | Discrepancy]:
        """Yield progress and discrepancies."""
        stored = await tree.find_tree(self.connection, self.question.tenant_id)
        signed, faults = _signed(stored, self.question)
        for each in faults:
            yield self._found(each)
        async for said in self._compare_leaves(signed.size):
            yield said
        async for discrepancy in self._compare_receipts():
            yield discrepancy
        async for discrepancy in self._compare_entries(signed.size):
            yield discrepancy
        for fault in _tree_faults(self.computed, signed, stored):
            yield self._found(fault)

    async def _compare_leaves(self, size: int) -> AsyncIterator[Progress | Discrepancy]:
        """Compare each leaf with its entry, and compute the tree again from the leaves."""
        about = self.question
        rows = await self.connection.fetch(
            SQL.count_sealed, about.tenant_id, size, about.start, about.end
        )
        total, outside = rows[0]
        if outside:
            yield self._found(f"{outside} leaves stand outside of the signed tree")
        for begin in range(0, size, COMPARE_LEAVES):
            span = begin, min(begin + COMPARE_LEAVES, size)
            rows = await self.connection.fetch(
                SQL.compare_leaves,
                *(about.tenant_id, *span, about.start, about.end, about.kept_since),
            )
            for discrepancy in self._count(rows):
                yield discrepancy
            for fault in await self._grow(span):
                yield self._found(fault)
            yield Progress(min(self.checked_count, total), total)

    async def _grow(self, span: Range) -> list[str]:
        """Append some leaves to the computed tree, and compare the stored tiles with it."""
        tenant_id = self.question.tenant_id
        leaves, whole = await tree.leaves_between(self.connection, tenant_id, span)
        faults = []
        if not whole:
            faults.append(
                f"the leaves from {span[0]} to {span[1] - 1} are not there exactly once each"
            )
        before = self.computed.size
        growth = await asyncio.to_thread(merkle.append, self.computed, leaves)
        self.computed = growth.frontier
        for level in range(TILE_LEVELS, len(growth.completed), TILE_LEVELS):
            for number, offset, hashes in tree.in_tiles(before >> level, growth.completed[level]):
                key = level // TILE_LEVELS, number
                tiles = await tree.tiles_of(self.connection, tenant_id, [key])
                start = offset * merkle.HASH_BYTES
                if tiles.get(key, b"")[start : start + len(hashes)] != hashes:
                    faults.append(f"tile {number} of level {key[0]} is not that of the leaves")
        return faults

    async def _compare_receipts(self) -> AsyncIterator[Discrepancy]:
        """Find receipts that more entries name than were erased: some only look erased."""
        if not self.counts["erased"]:
            return
        about = self.question
        for row in await self.connection.fetch(
            SQL.find_overdrawn, about.tenant_id, about.start, about.end
        ):
            self.discrepancy_count += 1
            yield Discrepancy(
                Kind.ALTERED,
                f"{row['entry_count']} entries are erased under the receipt {row['receipt_id']},"
                f" which counts {row['erased_count']}",
            )

    async def _compare_entries(self, size: int) -> AsyncIterator[Discrepancy]:
        """Find entries that no sealed batch has."""
        about = self.question
        await self.connection.execute(SQL.avoid_nested_loops)
        after = about.start - timedelta(microseconds=1), _LAST_ID
        while True:
            rows = await self.connection.fetch(
                SQL.compare_entries,
                *(about.tenant_id, *after, about.end, COMPARE_ENTRIES, size),
            )
            for discrepancy in self._count(rows):
                yield discrepancy
            if sum(row["entry_count"] for row in rows) < COMPARE_ENTRIES:
                return
            after = rows[0]["last_at"], rows[0]["last_id"]

    def _count(self, rows: list[asyncpg.Record]) -> Iterator[Discrepancy]:
        for row in rows:
            self.counts[row["state"]] += row["entry_count"]
            if row["state"] in _WRONG:
                kind, detail = _WRONG[row["state"]]
                self.discrepancy_count += row["entry_count"]
                for entry in zip(row["activity_ids"], row["created_ats"], strict=True):
                    yield Discrepancy(kind, detail, *entry)

    def _found(self, fault: str) -> Discrepancy:
        self.discrepancy_count += 1
        return Discrepancy(Kind.TREE, fault)

    @property
    def checked_count(self) -> int:
        """How many sealed entries were compared with their leaves."""
        states = ("intact", "altered", "moved", "removed", "erased", "expired")
        return sum(self.counts[state] for state in states)


def _signed(stored: Tree | None, about: Question) -> tuple[Statement, list[str]]:
    """Return the signed statement, or what the stored tree states, and the faults of the note."""
    origin = checkpoint.origin_of(about.tenant_id)
    if stored is None:
        return Statement(origin, 0, merkle.EMPTY_ROOT), []
    unsigned = Statement(origin, stored.frontier.size, stored.frontier.root())
    try:
        signed = checkpoint.read(stored.note, *about.keys)
    except NoteError as error:
        return unsigned, [str(error)]
    if signed.origin != origin:
        return unsigned, ["the checkpoint is that of another log"]
    return signed, []


def _tree_faults(computed: Frontier, signed: Statement, stored: Tree | None) -> Iterator[str]:
    if (computed.size, computed.root()) != (signed.size, signed.root):
        yield "the sealed leaves do not have the signed root"
    if stored and stored.frontier != computed:
        yield "the stored frontier is not that of the sealed leaves"
