"""Changes that no test can notice, because nothing that anyone sees depends on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KNOWN = Path(__file__).with_name("known.txt")


@dataclass(frozen=True, order=True)
class Change:
    """One mutant, by what it changes: the numbers that mutmut gives move with the code."""

    path: str
    function: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.path} {self.function}"]
        lines += [f"- {line}" for line in self.old]
        lines += [f"+ {line}" for line in self.new]
        return "\n".join(lines)


def read_known() -> frozenset[Change]:
    """Return the changes of known.txt, which are parted by empty lines and end in a reason."""
    blocks = KNOWN.read_text().split("\n\n")
    return frozenset(parse(block) for block in blocks if not block.startswith("#"))


def parse(block: str) -> Change:
    """Read one change, without its reason, which must be there."""
    first, *lines = block.strip().splitlines()
    path, function = first.split(" ")
    if not lines or lines[-1][:2] in {"- ", "+ "}:
        raise ValueError(f"{KNOWN.name}: {first} does not say why it changes nothing")
    old = tuple(line[2:] for line in lines if line.startswith("- "))
    new = tuple(line[2:] for line in lines if line.startswith("+ "))
    return Change(path, function, old, new)
