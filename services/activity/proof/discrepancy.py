"""What a verification finds, in the database or in a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Kind(StrEnum):
    """What is wrong."""

    ALTERED = "altered"
    REMOVED = "removed"
    INSERTED = "inserted"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry, or the tree, that is not as it was sealed."""

    kind: Kind
    detail: str
    activity_id: UUID | None = None
    created_at: datetime | None = None
