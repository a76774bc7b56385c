"""Metrics' statements, written from their template: `make sql`; `--check` fails on drift.

In the template `{{…}}` stands for a list with an item for each counter: in it the word `counter` is
replaced by the counter's column, and the word `codes` by the codes of the actions that it counts. A
list with `codes` leaves out the counter of everything.
"""

from __future__ import annotations

import re
import sys
import textwrap

from devstack.stack import ROOT
from services.metrics.counters import TABLE, Counter

FOLDER = ROOT / "services" / "metrics"
TEMPLATE = FOLDER / "queries.template.sql"
QUERIES = FOLDER / "queries.sql"
WIDTH = 100
_HEAD = "-- Written by `make sql` from queries.template.sql and counters.py: change those.\n\n"
_LIST = re.compile(r"\{\{(.+?)\}\}")
_WORD = re.compile(r"\b(counter|codes)\b")
_JOINED = "\0"  # a space at which a line is not broken


def written(template: str) -> str:
    """Return the statements with their lists, a list broken into lines between its items."""
    return _HEAD + "".join(_line(line) for line in template.splitlines(keepends=True))


def _line(line: str) -> str:
    if not _LIST.search(line):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    wrapped = textwrap.fill(
        _LIST.sub(lambda found: _items(found[1]), line.strip()),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped.replace(_JOINED, " ") + "\n"


def _items(item: str) -> str:
    rows = [row for row in TABLE if row.codes or "codes" not in item]
    return ", ".join(_item(item, row).replace(" ", _JOINED) for row in rows)


def _item(item: str, row: Counter) -> str:
    words = {"counter": row.column, "codes": ", ".join(map(str, row.codes))}
    return _WORD.sub(lambda found: words[found[0]], item)


def main() -> None:
    """Write the statements, or compare with `--check`."""
    text = written(TEMPLATE.read_text())
    if "--check" not in sys.argv:
        QUERIES.write_text(text)
    elif text != QUERIES.read_text():
        sys.exit(f"{QUERIES.relative_to(ROOT)} is stale: run make sql")


if __name__ == "__main__":
    main()
