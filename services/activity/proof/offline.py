"""Verifying a sealed export without a server: its lines against a checkpoint and a key one trusts.

Pure: the caller opens the file. The memory it needs does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.activity.proof import checkpoint, merkle
from services.activity.proof.checkpoint import NoteError, Statement
from services.activity.proof.discrepancy import Finding, Kind
from services.activity.proof.leaf import Line, LineError, parse
from services.activity.proof.merkle import HASH_BYTES, Frontier

_RIGHTLY_GONE = ("erased", "expired")
_BLOCK = 1_024 * HASH_BYTES


@dataclass(slots=True)
class OfflineVerification:
    """One run over a file; when it has ended its counts are the summary."""

    note: str
    key: Ed25519PublicKey
    checked_count: int = 0
    # Lines that prove nothing of their content, nor of whose hash it is: the export says why.
    erased_count: int = 0
    expired_count: int = 0
    uncovered_count: int = 0
    finding_count: int = 0
    computed: Frontier = field(default_factory=Frontier)
    _next: int = 0
    _block: bytearray = field(default_factory=bytearray)

    def run(self, lines: Iterable[str]) -> Iterator[Finding]:
        """Yield what is not as the checkpoint says it was sealed."""
        for finding in self._look_at(lines):
            self.finding_count += 1
            yield finding

    def _look_at(self, lines: Iterable[str]) -> Iterator[Finding]:
        try:
            signed = checkpoint.read(self.note, self.key)
        except NoteError as error:
            yield Finding(Kind.TREE, str(error))
            return
        for number, text in enumerate(lines, start=1):
            try:
                yield from self._take(parse(text), signed)
            except LineError as error:
                yield Finding(Kind.ALTERED, f"line {number}: {error}")
        yield from self._end(signed)

    def _take(self, line: Line, signed: Statement) -> Iterator[Finding]:
        """Put a line in its place, or say why it has none."""
        if line.index >= signed.size:
            self.uncovered_count += 1  # sealed after the checkpoint, as far as can be known
            return
        if line.index < self._next:
            yield _about(line, Kind.INSERTED, f"there was a leaf {line.index} before")
            return
        if line.index > self._next:
            yield _gap(self._next, line.index)
        self._next = line.index + 1
        self._count(line)
        if line.content is None and line.gone not in _RIGHTLY_GONE:
            kind = Kind.REMOVED if line.gone == "removed" else Kind.ALTERED
            yield _about(line, kind, "its content is not there, and neither erased nor expired")
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

    def _append(self, leaf: bytes, most: int = _BLOCK) -> None:
        self._block += leaf
        if len(self._block) >= most:
            self.computed = merkle.append(self.computed, bytes(self._block)).frontier
            self._block.clear()

    def _end(self, signed: Statement) -> Iterator[Finding]:
        self._append(b"", most=0)
        if self._next < signed.size:
            yield _gap(self._next, signed.size)
        if (self.computed.size, self.computed.root()) != (signed.size, signed.root):
            yield Finding(Kind.TREE, "the lines do not have the signed root")


def _gap(begin: int, end: int) -> Finding:
    leaves = f"leaf {begin}" if end - begin == 1 else f"the leaves {begin} to {end - 1}"
    return Finding(Kind.REMOVED, f"{leaves} of the sealed log: gone from the file")


def _about(line: Line, kind: Kind, detail: str) -> Finding:
    """Name a line's entry; what a spoilt line says of itself may be no id and no time."""
    try:
        named = UUID(line.activity_id), datetime.fromisoformat(line.created_at)
    except ValueError:
        return Finding(kind, f"leaf {line.index}: {detail}")
    return Finding(kind, detail, *named)
