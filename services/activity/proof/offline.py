"""Verifying a sealed export without a server: its lines against a checkpoint and a trusted key.

Pure: the caller opens the file. Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.activity.proof import checkpoint, merkle
from services.activity.proof.checkpoint import NoteError, Statement
from services.activity.proof.discrepancy import Discrepancy, Kind
from services.activity.proof.leaf import Line, LineError, parse
from services.activity.proof.merkle import HASH_BYTES, Frontier

_RIGHTLY_GONE = ("erased", "expired")
_BLOCK = 1_024 * HASH_BYTES


@dataclass(slots=True)
class OfflineVerification:
    """A verification of one file; its counts are complete when `run` has ended."""

    note: str
    key: Ed25519PublicKey
    checked_count: int = 0
    # Lines without content, of which only the hash is proven; the export says why it is gone.
    erased_count: int = 0
    expired_count: int = 0
    uncovered_count: int = 0
    discrepancy_count: int = 0
    computed: Frontier = field(default_factory=Frontier)
    _next: int = 0
    _block: bytearray = field(default_factory=bytearray)

    def run(self, lines: Iterable[str]) -> Iterator[Discrepancy]:
        """Yield what is not as it was sealed under the checkpoint."""
        for discrepancy in self._discrepancies(lines):
            self.discrepancy_count += 1
            yield discrepancy

    def _discrepancies(self, lines: Iterable[str]) -> Iterator[Discrepancy]:
        try:
            signed = checkpoint.read(self.note, self.key)
        except NoteError as error:
            yield Discrepancy(Kind.TREE, str(error))
            return
        for number, text in enumerate(lines, start=1):
            try:
                yield from self._take(parse(text), signed)
            except LineError as error:
                yield Discrepancy(Kind.ALTERED, f"line {number}: {error}")
        yield from self._end(signed)

    def _take(self, line: Line, signed: Statement) -> Iterator[Discrepancy]:
        """Append a line's leaf to the computed tree; yield what is wrong with the line."""
        if line.index >= signed.size:
            self.uncovered_count += 1  # sealed after the checkpoint: it says nothing of it
            return
        if line.index < self._next:
            yield _about(line, Kind.INSERTED, f"the file has leaf {line.index} twice")
            return
        if line.index > self._next:
            yield _gap(self._next, line.index)
        self._next = line.index + 1
        self._count(line)
        if line.content is None and line.gone not in _RIGHTLY_GONE:
            kind = Kind.REMOVED if line.gone == "removed" else Kind.ALTERED
            yield _about(line, kind, "its content is missing, and was neither erased nor expired")
        if not line.is_as_sealed():
            yield _about(line, Kind.ALTERED, "its content does not have the sealed hash")
        self._append(line.leaf)

    def _count(self, line: Line) -> None:
        if line.content is not None:
            self.checked_count += 1
        elif line.gone == "erased":
            self.erased_count += 1
        elif line.gone == "expired":
            self.expired_count += 1

    def _append(self, leaf: bytes, block: int = _BLOCK) -> None:
        self._block += leaf
        if len(self._block) >= block:
            self.computed = merkle.append(self.computed, bytes(self._block)).frontier
            self._block.clear()

    def _end(self, signed: Statement) -> Iterator[Discrepancy]:
        self._append(b"", block=0)
        if self._next < signed.size:
            yield _gap(self._next, signed.size)
        if (self.computed.size, self.computed.root()) != (signed.size, signed.root):
            yield Discrepancy(Kind.TREE, "the lines do not have the signed root")


def _gap(begin: int, end: int) -> Discrepancy:
    leaves = f"leaf {begin}" if end - begin == 1 else f"the leaves {begin} to {end - 1}"
    return Discrepancy(Kind.REMOVED, f"{leaves} of the sealed log: gone from the file")


def _about(line: Line, kind: Kind, detail: str) -> Discrepancy:
    """Return the discrepancy of a line; a damaged line may name no entry."""
    try:
        named = UUID(line.activity_id), datetime.fromisoformat(line.created_at)
    except ValueError:
        return Discrepancy(kind, f"leaf {line.index}: {detail}")
    return Discrepancy(kind, detail, *named)
