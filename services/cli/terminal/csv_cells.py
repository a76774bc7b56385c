"""Cells of CSV that no spreadsheet takes for a formula, and back; as activity.csv_cell has them.

A spreadsheet runs what begins with one of a few signs, full-width ones too, and where it splits at
`;` or tabs a cell may begin in the middle of ours. An apostrophe before such a sign makes it text.
"""

from __future__ import annotations

import re

_SIGNS = "-=+@\\t\\r\\n'\uff0b\uff0d\uff1d\uff20"
_FIRST = re.compile(f"[{_SIGNS}]")
_WITHIN = re.compile(f'([;\\t\\r\\n])(?=[{_SIGNS}"])')
_GUARDED_FIRST = re.compile(f"'(?=[{_SIGNS}])")
_GUARDED_WITHIN = re.compile(f"([;\\t\\r\\n])'(?=[{_SIGNS}\"])")


def guarded(cell: str) -> str:
    """Return a cell as a file for people has it."""
    return ("'" if _FIRST.match(cell) else "") + _WITHIN.sub(r"\1'", cell)


def unguarded(cell: str) -> str:
    """Return what a cell of such a file stands for."""
    start = 1 if _GUARDED_FIRST.match(cell) else 0
    return _GUARDED_WITHIN.sub(r"\1", cell[start:])
