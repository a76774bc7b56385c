"""Texts from the web that gave orders to models, and what a model says that obeys them.

They are data of `data`/injections; each names where it was found.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = "injections/injections.json"


@dataclass(frozen=True, slots=True)
class Injection:
    """A text, and what obeying it looks like: `{system}` and `{facts}` stand for what is leaked."""

    id: str
    text: str
    obeyed: str
    source: str


def load(data: Path) -> tuple[Injection, ...]:
    """Read the texts."""
    return tuple(Injection(**each) for each in json.loads((data / FILE).read_text()))
