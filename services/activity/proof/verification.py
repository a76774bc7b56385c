"""Verifying a log: every sealed entry against its leaf, and the leaves against the signed root.

It reads a snapshot in pieces, so that its memory does not grow with the log; SQL compares, and
gives counts and what is not as it was sealed.
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
from services.activity.proof.discrepancy import Finding, Kind
from services.activity.proof.merkle import Frontier, Range
from services.activity.proof.tree import TILE_LEVELS, Tree
from services.activity.sql import FIRST, LAST, SQL

PIECE = 25_600  # leaves compared at once; whole tiles
# Entries whose batches are looked up at once: many, since batches that overlap in time are read
# again for each of these pieces. PostgreSQL keeps what is more than its work_mem on disk.
ENTRIES = 500_000
_LAST_ID = UUID(int=(1 << 128) - 1)


# How SQL names an entry that is not as it was sealed.
_WRONG = {
    "altered": (Kind.ALTERED, "its content does not have the sealed hash"),
    "moved": (Kind.ALTERED, "it names another batch than the one that it was sealed in"),
    "removed": (Kind.REMOVED, "it was sealed, and is neither erased nor expired"),
    "inserted": (Kind.INSERTED, "no sealed batch holds it"),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of the entries that there are to compare have been compared."""

    checked_count: int
    total_count: int


@dataclass(frozen=True, slots=True)
class Question:
    """Whose log is verified, which entries are compared, and since when entries must be there."""

    tenant_id: UUID
    keys: tuple[Ed25519PublicKey, ...]
    kept_since: datetime
    start: datetime = FIRST
    end: datetime = LAST


@dataclass(slots=True)
class Verification:
    """One run over a log; when it has ended its counts are the summary."""

    connection: Connection
    question: Question
    counts: Counter[str] = field(default_factory=Counter)
    finding_count: int = 0
    computed: Frontier = field(default_factory=Frontier)

    async def run(self) -> AsyncIterator[Progress | Finding]:
        """Yield progress and findings."""
        stored = await tree.find_tree(self.connection, self.question.tenant_id)
        signed, faults = _signed(stored, self.question)
        for each in faults:
            yield self._found(each)
        async for said in self._compare_leaves(signed.size):
            yield said
        async for finding in self._compare_receipts():
            yield finding
        async for finding in self._compare_entries(signed.size):
            yield finding
        for fault in _tree_faults(self.computed, signed, stored):
            yield self._found(fault)

    async def _compare_leaves(self, size: int) -> AsyncIterator[Progress | Finding]:
        """Compare each leaf with its entry, and grow the tree anew from the leaves."""
        about = self.question
        rows = await self.connection.fetch(
            SQL.count_sealed, about.tenant_id, size, about.start, about.end
        )
        total, outside = rows[0]
        if outside:
            yield self._found(f"{outside} leaves have a place outside of the signed tree")
        for begin in range(0, size, PIECE):
            piece = begin, min(begin + PIECE, size)
            rows = await self.connection.fetch(
                SQL.compare_leaves,
                *(about.tenant_id, *piece, about.start, about.end, about.kept_since),
            )
            for finding in self._count(rows):
                yield finding
            for fault in await self._grow(piece):
                yield self._found(fault)
            yield Progress(min(self.checked_count, total), total)

    async def _grow(self, piece: Range) -> list[str]:
        """Append a piece's leaves to the tree that is computed, and compare the stored tiles."""
        tenant_id = self.question.tenant_id
        leaves, whole = await tree.leaves_between(self.connection, tenant_id, piece)
        faults = []
        if not whole:
            faults.append(f"the leaves from {piece[0]} to {piece[1] - 1} are not there, each once")
        before = self.computed.size
        growth = await asyncio.to_thread(merkle.append, self.computed, leaves)
        self.computed = growth.frontier
        for level in range(TILE_LEVELS, len(growth.completed), TILE_LEVELS):
            for number, offset, hashes in tree.in_tiles(before >> level, growth.completed[level]):
                place = level // TILE_LEVELS, number
                tiles = await tree.tiles_of(self.connection, tenant_id, [place])
                start = offset * merkle.HASH_BYTES
                if tiles.get(place, b"")[start : start + len(hashes)] != hashes:
                    faults.append(f"tile {number} of level {place[0]} is not that of the leaves")
        return faults

    async def _compare_receipts(self) -> AsyncIterator[Finding]:
        """Look for entries that were made to look erased: more than their receipt counts."""
        if not self.counts["erased"]:
            return
        about = self.question
        for row in await self.connection.fetch(
            SQL.find_overdrawn, about.tenant_id, about.start, about.end
        ):
            self.finding_count += 1
            yield Finding(
                Kind.ALTERED,
                f"{row['entry_count']} entries are erased under the receipt {row['receipt_id']},"
                f" which counts {row['erased_count']}",
            )

    async def _compare_entries(self, size: int) -> AsyncIterator[Finding]:
        """Look for entries that no sealed batch holds."""
        about = self.question
        await self.connection.execute(SQL.avoid_nested_loops)
        after = about.start - timedelta(microseconds=1), _LAST_ID
        while True:
            rows = await self.connection.fetch(
                SQL.compare_entries,
                *(about.tenant_id, *after, about.end, ENTRIES, size),
            )
            for finding in self._count(rows):
                yield finding
            if sum(row["entry_count"] for row in rows) < ENTRIES:
                return
            after = rows[0]["last_at"], rows[0]["last_id"]

    def _count(self, rows: list[asyncpg.Record]) -> Iterator[Finding]:
        for row in rows:
            self.counts[row["state"]] += row["entry_count"]
            if row["state"] in _WRONG:
                kind, detail = _WRONG[row["state"]]
                self.finding_count += row["entry_count"]
                for entry in zip(row["activity_ids"], row["created_ats"], strict=True):
                    yield Finding(kind, detail, *entry)

    def _found(self, fault: str) -> Finding:
        self.finding_count += 1
        return Finding(Kind.TREE, fault)

    @property
    def checked_count(self) -> int:
        """How many sealed entries were compared with their leaf."""
        states = ("intact", "altered", "moved", "removed", "erased", "expired")
        return sum(self.counts[state] for state in states)


def _signed(stored: Tree | None, about: Question) -> tuple[Statement, list[str]]:
    """Return what was signed, or as much as is known of it, and what is wrong with it."""
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
