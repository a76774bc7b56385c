"""A tenant's sealed tree in PostgreSQL; functions take a connection in the caller's transaction.

Leaves are stored in batches, the roots of complete subtrees of 256^n leaves in tiles, 256 in a row.
Any node can be computed from at most 256 hashes of one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

import grpc

from chassis.database import Connection
from chassis.errors import Refusal
from services.activity.proof import merkle
from services.activity.proof.merkle import HASH_BYTES, Frontier, Growth, Node, Range
from services.activity.sql import SQL

TILE_LEVELS = 8
TILE = 1 << TILE_LEVELS
TileKey = tuple[int, int]  # a tile by level and number; level 0 is the leaves


class TreeBroken(Refusal):
    """The stored tree is not the one that was sealed: somebody has changed it."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.DATA_LOSS

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="LOG_BROKEN")


@dataclass(frozen=True, slots=True)
class Tree:
    """A tenant's tree as it was last sealed."""

    frontier: Frontier
    note: str
    began_at: datetime
    sealed_at: datetime


@dataclass(frozen=True, slots=True)
class Unsealed:
    """Batches that are not in the tree yet, in the order in which they are sealed."""

    batch_ids: Sequence[UUID]
    entry_counts: Sequence[int]
    leaves: bytes

    def first_leaves(self, first_leaf: int) -> list[int]:
        """Return each batch's first leaf in a tree that has `first_leaf` leaves already."""
        indexes = []
        for count in self.entry_counts:
            indexes.append(first_leaf)
            first_leaf += count
        return indexes


async def find_tree(connection: Connection, tenant_id: UUID) -> Tree | None:
    """Return the tenant's tree; None before its first entry is sealed."""
    row = await connection.fetchrow(SQL.get_tree, tenant_id)
    if row is None:
        return None
    frontier = Frontier(row["size"], tuple(_hashes(row["frontier"])))
    return Tree(frontier, row["note"], row["began_at"], row["sealed_at"])


async def take_unsealed(
    connection: Connection, tenant_id: UUID, batch_count: int, entry_count: int
) -> Unsealed:
    """Return the oldest batches that are not in the tree yet, about as many as asked for."""
    rows = await connection.fetch(SQL.take_unsealed, tenant_id, batch_count, entry_count)
    return Unsealed(
        [row["batch_id"] for row in rows],
        [row["entry_count"] for row in rows],
        b"".join(row["leaves"] for row in rows),
    )


async def save_growth(
    connection: Connection, tenant_id: UUID, before: Frontier, batches: Unsealed, growth: Growth
) -> None:
    """Put batches into the tree and save the nodes that they completed."""
    indexes = batches.first_leaves(before.size)
    changed = await connection.fetchval(SQL.set_first_leaves, tenant_id, batches.batch_ids, indexes)
    if changed != len(batches.batch_ids):
        raise TreeBroken("another transaction has sealed a batch meanwhile")
    tiles = [
        (tenant_id, level // TILE_LEVELS, number, offset, hashes)
        for level in range(TILE_LEVELS, len(growth.completed), TILE_LEVELS)
        for number, offset, hashes in in_tiles(before.size >> level, growth.completed[level])
    ]
    await connection.executemany(SQL.save_tile, tiles)


async def save_tree(
    connection: Connection, tenant_id: UUID, before: int, after: Frontier, note: str, at: datetime
) -> None:
    """Save the tree that has grown from the size `before`."""
    values = (after.size, b"".join(after.hashes), note, at, before)
    if not await connection.fetchval(SQL.save_tree, tenant_id, *values):
        raise TreeBroken("another transaction has appended to the tree meanwhile")


async def leaves_between(
    connection: Connection, tenant_id: UUID, leaves: Range
) -> tuple[bytes, bool]:
    """Return the sealed leaves of a range, and whether each is there exactly once."""
    rows = await connection.fetch(SQL.leaves_between, tenant_id, *leaves)
    index, whole = leaves[0], True
    for row in rows:
        whole = whole and row["first_leaf"] == index
        index += len(row["leaves"]) // HASH_BYTES
    return b"".join(row["leaves"] for row in rows), whole and index == leaves[1]


async def range_roots(
    connection: Connection, tenant_id: UUID, ranges: Sequence[Range], size: int
) -> list[bytes]:
    """Return the roots over ranges of the tree's first `size` leaves; reads a few rows for each."""
    nodes = [node for each in ranges for node in merkle.subtrees(each)]
    tiles = await _read_tiles(connection, tenant_id, {_tile_of(node) for node in nodes}, size)
    return [merkle.range_root(each, lambda node: _node(node, tiles)) for each in ranges]


async def tiles_of(
    connection: Connection, tenant_id: UUID, keys: Iterable[TileKey]
) -> dict[TileKey, bytes]:
    """Return the stored tiles among these."""
    wanted = list(keys)
    levels, numbers = [level for level, _ in wanted], [number for _, number in wanted]
    rows = await connection.fetch(SQL.get_tiles, tenant_id, levels, numbers)
    return {(row["level"], row["tile"]): row["hashes"] for row in rows}


async def _read_tiles(
    connection: Connection, tenant_id: UUID, keys: set[TileKey], size: int
) -> dict[TileKey, bytes]:
    tiles = await tiles_of(connection, tenant_id, [key for key in keys if key[0]])
    for level, number in keys:
        if level == 0:
            leaves = number * TILE, min((number + 1) * TILE, size)
            tiles[level, number], _ = await leaves_between(connection, tenant_id, leaves)
    return tiles


def _tile_of(node: Node) -> TileKey:
    level, below = divmod(node.level, TILE_LEVELS)
    return level, node.index << below >> TILE_LEVELS


def _node(node: Node, tiles: dict[TileKey, bytes]) -> bytes:
    below = node.level % TILE_LEVELS
    first = (node.index << below) % TILE * HASH_BYTES
    block = tiles.get(_tile_of(node), b"")[first : first + (HASH_BYTES << below)]
    if len(block) != HASH_BYTES << below:
        raise TreeBroken("a part of the tree is missing; VerifyLog says which")
    return merkle.root_of(_hashes(block))


def in_tiles(first: int, block: bytes) -> Iterable[tuple[int, int, bytes]]:
    """Split a level's new nodes, from index `first` on, into (tile, offset in it, hashes)."""
    while block:
        number, offset = divmod(first, TILE)
        room = (TILE - offset) * HASH_BYTES
        yield number, offset, block[:room]
        first, block = first + TILE - offset, block[room:]


def _hashes(block: bytes) -> list[bytes]:
    return [block[at : at + HASH_BYTES] for at in range(0, len(block), HASH_BYTES)]
