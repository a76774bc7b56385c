"""The Merkle tree: equal to the RFC's own definition, and no proof stands for what is not so."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.activity.proof import merkle
from services.activity.proof.merkle import Frontier, Node

# The leaves and roots of certificate-transparency's reference tests for RFC 6962.
KNOWN = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
]
LEAVES = [merkle.leaf_hash(bytes.fromhex(data)) for data, _ in KNOWN]


def a_tree(size: int) -> list[bytes]:
    """Return the leaves of a tree."""
    return [merkle.leaf_hash(str(index).encode()) for index in range(size)]


def defined_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1: MTH."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256(b"").digest()
    k = largest_power_below(len(leaves))
    return merkle.node_hash(defined_root(leaves[:k]), defined_root(leaves[k:]))


def defined_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1: PATH."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if index < k:
        return [*defined_path(index, leaves[:k]), defined_root(leaves[k:])]
    return [*defined_path(index - k, leaves[k:]), defined_root(leaves[:k])]


def defined_proof(first: int, leaves: Sequence[bytes], *, known: bool = True) -> list[bytes]:
    """RFC 6962, 2.1.2: SUBPROOF."""
    if first == len(leaves):
        return [] if known else [defined_root(leaves)]
    k = largest_power_below(len(leaves))
    if first <= k:
        return [*defined_proof(first, leaves[:k], known=known), defined_root(leaves[k:])]
    return [*defined_proof(first - k, leaves[k:], known=False), defined_root(leaves[:k])]


def largest_power_below(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def roots(ranges: Sequence[merkle.Range], leaves: Sequence[bytes]) -> list[bytes]:
    """Put a planned proof together from the leaves."""

    def read(node: Node) -> bytes:
        width = 1 << node.level
        return defined_root(leaves[node.index * width : (node.index + 1) * width])

    return [merkle.range_root(each, read) for each in ranges]


sizes = st.integers(1, 130)


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    assert merkle.root_of(LEAVES[:size]).hex() == KNOWN[size - 1][1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == sha256(b"").digest()


@given(st.lists(st.integers(0, 70), max_size=6))
def test_appending_in_pieces_gives_the_defined_root(pieces: list[int]) -> None:
    leaves = a_tree(sum(pieces))
    frontier, start = Frontier(), 0
    for piece in pieces:
        frontier = merkle.append(frontier, b"".join(leaves[start : start + piece])).frontier
        start += piece
    assert (frontier.size, frontier.root()) == (len(leaves), defined_root(leaves))


@given(st.integers(0, 200), st.integers(1, 200))
def test_an_append_gives_each_node_that_it_completes(before: int, more: int) -> None:
    leaves = a_tree(before + more)
    old = merkle.append(Frontier(), b"".join(leaves[:before])).frontier
    for level, block in enumerate(merkle.append(old, b"".join(leaves[before:])).completed):
        width, first = 1 << level, before >> level
        assert len(block) == 32 * ((len(leaves) >> level) - first)
        for place in range(len(block) // 32):
            index = first + place
            whole = defined_root(leaves[index * width : (index + 1) * width])
            assert block[32 * place : 32 * place + 32] == whole


@given(sizes, st.data())
def test_inclusion_proofs_are_the_defined_ones_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = a_tree(size)
    proof = roots(merkle.inclusion_ranges(index, size), leaves)
    assert proof == defined_path(index, leaves)
    assert merkle.verify_inclusion(leaves[index], index, size, proof, defined_root(leaves))


@given(sizes, st.data())
def test_consistency_proofs_are_the_defined_ones_and_verify(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, size))
    leaves = a_tree(size)
    proof = roots(merkle.consistency_ranges(first, size), leaves)
    assert proof == defined_proof(first, leaves)
    old, new = defined_root(leaves[:first]), defined_root(leaves)
    assert merkle.verify_consistency(first, size, old, new, proof)


@given(sizes, st.data())
def test_an_inclusion_proof_stands_for_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = a_tree(size)
    root, proof = defined_root(leaves), defined_path(index, leaves)
    other = merkle.leaf_hash(b"other")
    assert not merkle.verify_inclusion(other, index, size, proof, root)
    assert not merkle.verify_inclusion(leaves[index], index, size, proof, other)
    assert not merkle.verify_inclusion(leaves[index], index, size, [*proof, other], root)
    assert not merkle.verify_inclusion(leaves[index], size, size, proof, root)
    if proof:
        assert not merkle.verify_inclusion(leaves[index], index, size, proof[:-1], root)
        assert not merkle.verify_inclusion(leaves[index], index ^ 1, size, proof, root)
        place = data.draw(st.integers(0, len(proof) - 1))
        spoilt = [*proof[:place], other, *proof[place + 1 :]]
        assert not merkle.verify_inclusion(leaves[index], index, size, spoilt, root)


def test_every_proof_of_a_small_tree_verifies() -> None:
    for size in range(1, 34):
        leaves = a_tree(size)
        root = defined_root(leaves)
        for index, leaf in enumerate(leaves):
            path = defined_path(index, leaves)
            assert merkle.verify_inclusion(leaf, index, size, path, root)
            first, proof = index + 1, defined_proof(index + 1, leaves)
            old = defined_root(leaves[:first])
            assert merkle.verify_consistency(first, size, old, root, proof)


def test_a_log_that_has_not_grown_has_the_same_root_and_needs_no_proof() -> None:
    root, other = merkle.root_of(LEAVES), merkle.leaf_hash(b"other")
    assert merkle.verify_consistency(8, 8, root, root, [])
    assert not merkle.verify_consistency(8, 8, root, other, [])
    assert not merkle.verify_consistency(8, 8, root, root, [other])


def test_a_consistency_proof_without_hashes_proves_nothing() -> None:
    old, new = merkle.root_of(LEAVES[:3]), merkle.root_of(LEAVES)
    assert not merkle.verify_consistency(3, 8, old, new, [])
    assert not merkle.verify_consistency(0, 8, merkle.EMPTY_ROOT, new, [])


@given(st.integers(2, 130), st.data())
def test_a_consistency_proof_does_not_stand_for_a_rewritten_log(
    size: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, size - 1))
    leaves = a_tree(size)
    old, new = defined_root(leaves[:first]), defined_root(leaves)
    proof = defined_proof(first, leaves)
    rewritten = [merkle.leaf_hash(b"other"), *leaves[1:]]
    other_proof = defined_proof(first, rewritten)
    assert not merkle.verify_consistency(first, size, old, defined_root(rewritten), other_proof)
    assert not merkle.verify_consistency(first, size, old, new, proof[:-1])
    assert not merkle.verify_consistency(first, size, old, new, [*proof, old])
    assert not merkle.verify_consistency(size + 1, size, old, new, proof)


def test_a_range_without_leaves_has_the_root_of_the_empty_tree() -> None:
    def read(node: Node) -> bytes:
        raise AssertionError(node)

    assert merkle.range_root((5, 0), read) == merkle.EMPTY_ROOT
