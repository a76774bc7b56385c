"""A file of lines against a checkpoint: what is told of each line that is not as it was sealed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.activity.proof import checkpoint, merkle
from services.activity.proof.checkpoint import Statement, origin_of
from services.activity.proof.leaf import parse
from services.activity.proof.offline import OfflineVerification

KEY = Ed25519PrivateKey.generate()
TENANT = uuid.UUID(int=7)
AT = "2026-11-24T12:00:00+00:00"


def a_line(index: int, **changed: Any) -> str:
    """Return a sealed line: its hash is that of its content."""
    ids = {"salt": 1, "tenant_id": 7, "user_id": 2, "activity_id": 1_000 + index}
    members: dict[str, Any] = {name: str(uuid.UUID(int=n)) for name, n in ids.items()}
    members |= {"leaf_index": index, "leaf_hash": "00" * 32, "created_at": AT, "recorded_at": AT}
    members |= dict.fromkeys(("action_type", "target_id", "ip_address", "user_agent"), "x")
    members["metadata"] = {}
    hashed = parse(json.dumps(members)).content
    assert hashed is not None
    members["leaf_hash"] = merkle.leaf_hash(hashed).hex()
    members |= changed
    return json.dumps({name: value for name, value in members.items() if value is not None})


LINES = [a_line(index) for index in range(4)]


def signed(lines: Iterable[str] = LINES) -> str:
    leaves = [parse(line).leaf for line in lines]
    return checkpoint.sign(Statement(origin_of(TENANT), len(leaves), merkle.root_of(leaves)), KEY)


def verify(
    lines: list[str], note: str | None = None
) -> tuple[list[tuple[str, str]], OfflineVerification]:
    """Return kind and detail of what is found, and the run with its counts."""
    run = OfflineVerification(note or signed(), KEY.public_key())
    found = [(each.kind.value, each.detail) for each in run.run(lines)]
    assert run.discrepancy_count == len(found)
    return found, run


ROOT = ("tree", "the lines do not have the signed root")


def test_a_file_as_it_was_sealed_has_no_findings() -> None:
    found, run = verify(LINES)
    assert (found, run.checked_count, run.computed.size) == ([], 4, 4)
    assert (run.erased_count, run.expired_count, run.uncovered_count) == (0, 0, 0)


def test_a_file_of_more_lines_than_a_block_has_the_same_root() -> None:
    lines = [a_line(index) for index in range(1_025)]
    assert verify(lines, signed(lines))[0] == []
    assert verify(lines[:1_024], signed(lines[:1_024]))[0] == []


@pytest.mark.parametrize("gone", ["erased", "expired"])
def test_an_entry_that_is_rightly_gone_is_counted(gone: str) -> None:
    gone_lines = [a_line(index, salt=None, gone=gone) for index in (1, 2)]
    found, run = verify([LINES[0], *gone_lines, LINES[3]])
    counts = {"erased": run.erased_count, "expired": run.expired_count}
    assert (found, run.checked_count) == ([], 2)
    assert counts == dict.fromkeys(counts, 0) | {gone: 2}


@pytest.mark.parametrize(("gone", "kind"), [("removed", "removed"), (None, "altered")])
def test_an_entry_that_is_gone_otherwise_is_told(gone: str | None, kind: str) -> None:
    found, run = verify([LINES[0], a_line(1, salt=None, gone=gone), *LINES[2:]])
    assert found == [(kind, "its content is missing, and was neither erased nor expired")]
    assert (run.checked_count, run.erased_count, run.expired_count) == (3, 0, 0)


def test_an_altered_entry_is_told_and_the_root_still_holds() -> None:
    found, _ = verify([LINES[0], a_line(1, user_agent="other"), *LINES[2:]])
    assert found == [("altered", "its content does not have the sealed hash")]


def test_what_is_told_of_a_line_names_its_entry() -> None:
    run = OfflineVerification(signed(), KEY.public_key())
    (found,) = run.run([LINES[0], a_line(1, user_agent="other"), *LINES[2:]])
    assert found.activity_id == uuid.UUID(int=1_001)
    assert found.created_at is not None
    assert found.created_at.isoformat() == AT


def test_what_is_told_of_a_line_whose_entry_has_no_id_names_its_index() -> None:
    lines = [LINES[0], a_line(1, salt=None, activity_id="?"), *LINES[2:]]
    detail = "leaf 1: its content is missing, and was neither erased nor expired"
    assert verify(lines)[0] == [("altered", detail)]


@pytest.mark.parametrize(
    ("kept", "gap"),
    [
        ([0, 2, 3], "leaf 1 of the sealed log: gone from the file"),
        ([0, 3], "the leaves 1 to 2 of the sealed log: gone from the file"),
        ([1, 2, 3], "leaf 0 of the sealed log: gone from the file"),
        ([0, 1], "the leaves 2 to 3 of the sealed log: gone from the file"),
        ([0, 1, 2], "leaf 3 of the sealed log: gone from the file"),
    ],
)
def test_lines_that_are_gone_are_told_by_their_indexes(kept: list[int], gap: str) -> None:
    assert verify([LINES[index] for index in kept])[0] == [("removed", gap), ROOT]


def test_a_line_that_stands_there_twice_is_told_and_left_out() -> None:
    found, run = verify([LINES[0], LINES[0], *LINES[1:]])
    assert found == [("inserted", "the file has leaf 0 twice")]
    assert run.checked_count == 4


def test_lines_that_were_sealed_later_are_counted_as_not_covered() -> None:
    for covered in (3, 2):
        found, run = verify(LINES, signed(LINES[:covered]))
        assert (found, run.checked_count, run.uncovered_count) == ([], covered, 4 - covered)


def test_what_is_no_line_is_told_by_its_number() -> None:
    found, _ = verify([LINES[0], "?", *LINES[1:]])
    text = "line 2: not a line of a sealed export: not JSON at character 0"
    assert found == [("altered", text)]


def test_lines_of_another_root_are_told() -> None:
    other = a_line(3, user_agent="other", leaf_hash="11" * 32, salt=None, gone="erased")
    assert verify([*LINES[:3], other])[0] == [ROOT]


def test_a_checkpoint_of_another_key_proves_nothing_and_no_line_is_looked_at() -> None:
    note = checkpoint.sign(Statement(origin_of(TENANT), 0, merkle.EMPTY_ROOT), KEY)
    run = OfflineVerification(note, Ed25519PrivateKey.generate().public_key())
    (found,) = run.run(LINES)
    assert (found.kind.value, found.detail) == ("tree", "the checkpoint is signed with another key")
    assert (run.discrepancy_count, run.checked_count) == (1, 0)
