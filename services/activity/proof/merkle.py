"""The Merkle tree of RFC 6962 and RFC 9162 over SHA-256: append, roots, proofs and their checks.

Pure: hashes in, hashes out. A tree is represented by its frontier, the roots of its complete
subtrees. A proof is first a list of ranges of leaves; the root of each is computed from nodes that
the caller reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
_NODE = b"\x01"
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Node:
    """The root of the complete subtree over the leaves from index * 2^level, 2^level of them."""

    level: int
    index: int


ReadNode = Callable[[Node], bytes]


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree as its size and the roots of its complete subtrees, the largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """Return the tree's root."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Growth:
    """A tree after an append, and the nodes that it completed: by level, their hashes joined."""

    frontier: Frontier
    completed: tuple[bytes, ...]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf's data."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node over two subtrees."""
    return sha256(_NODE + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over adjacent complete subtrees, the largest first."""
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


def append(frontier: Frontier, leaves: bytes) -> Growth:
    """Append leaf hashes, level by level: each level's new nodes are paired into the next one's."""
    size = frontier.size + len(leaves) // HASH_BYTES
    pending = list(frontier.hashes)  # the smallest subtree is the last
    kept: list[bytes] = []
    completed: list[bytes] = []
    block, level = leaves, 0
    while block or pending:
        if block:
            completed.append(block)
        if frontier.size >> level & 1:
            block = pending.pop() + block
        if size >> level & 1:
            kept.append(block[-HASH_BYTES:])
            block = block[:-HASH_BYTES]
        block = _pair(block)
        level += 1
    return Growth(Frontier(size, tuple(reversed(kept))), tuple(completed))


def _pair(block: bytes) -> bytes:
    """Return the parents of an even number of nodes; the hot loop of sealing."""
    return b"".join(
        [
            sha256(_NODE + block[at : at + 2 * HASH_BYTES]).digest()
            for at in range(0, len(block), 2 * HASH_BYTES)
        ]
    )


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    return append(Frontier(), b"".join(leaves)).frontier.root()


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges whose roots are the audit path of a leaf, in the order of the proof."""
    ranges: list[Range] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    return ranges[::-1]


def consistency_ranges(first: int, size: int) -> list[Range]:
    """Return the ranges whose roots prove that the first leaves are the beginning of the tree."""
    ranges: list[Range] = []
    begin, end = 0, size
    while first != end:
        middle = begin + _split(end - begin)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    if begin:  # the verifier knows the root of the first leaves only where they are one subtree
        ranges.append((begin, end))
    return ranges[::-1]


def subtrees(leaves: Range) -> list[Node]:
    """Return the complete subtrees that a range of a tree is made of, the largest first."""
    begin, end = leaves
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append(Node(level, begin >> level))
        begin += 1 << level
    return nodes


def range_root(leaves: Range, read: ReadNode) -> bytes:
    """Return the root over a range, from the nodes of `subtrees`."""
    return fold([read(node) for node in subtrees(leaves)]) if leaves[1] else EMPTY_ROOT


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether a proof shows the leaf at its index under the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, computed = index, size - 1, leaf
    for each in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            computed = node_hash(each, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, each)
        node, last = node >> 1, last >> 1
    return last == 0 and computed == root


def verify_consistency(
    first: int, size: int, first_root: bytes, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether a proof shows the first tree as the beginning of the other (2.1.4.2)."""
    if not 0 < first <= size:
        return False
    if first == size:
        return not proof and first_root == root
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    node, last = first - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for each in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(each, old), node_hash(each, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, each)
        node, last = node >> 1, last >> 1
    return last == 0 and old == first_root and new == root
