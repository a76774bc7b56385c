"""A discrepancy: what a verification finds that is not as it was sealed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Kind(StrEnum):
    """What is wrong with an entry, or that it is the tree."""

    ALTERED = "altered"
    REMOVED = "removed"
    INSERTED = "inserted"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """An entry, or a fault of the tree, that is not as it was sealed."""

    kind: Kind
    detail: str
    activity_id: UUID | None = None
    created_at: datetime | None = None
