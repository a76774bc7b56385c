"""What every command shows: text that cannot steer the terminal, and how far a transfer is."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


def shown(text: str) -> Text:
    """Return text that is safe to print: control characters must not steer a reader's terminal."""
    return Text(
        "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    )


def escaped(json_text: str) -> str:
    """Return JSON text in which what cannot be seen, or steers a terminal, is escaped."""
    if json_text.isprintable():
        return json_text
    return "".join(
        each if each.isprintable() or each == "\n" else _escape(each) for each in json_text
    )


def _escape(character: str) -> str:
    """Return a character as JSON escapes it: by its units of UTF-16."""
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def transfer(*, counted: bool) -> Progress:
    """Return a progress bar, with a count or in percent; it shows only on a terminal."""
    console = Console(stderr=True)
    done = MofNCompleteColumn() if counted else TaskProgressColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), done, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
