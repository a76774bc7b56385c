"""Cells of CSV that no spreadsheet takes for a formula, whatever it splits lines at, and back."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.terminal.csv_cells import guarded, unguarded

SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
TEXTS = st.text(st.sampled_from(f"{SIGNS}'\";a b") | st.characters(), max_size=12)


def cells(text: str, separator: str) -> list[str]:
    """Return the cells of a line as a spreadsheet with this separator has them.

    With another one than ours, quotes stand within cells and hold nothing together.
    """
    file = io.StringIO(newline="")
    csv.writer(file).writerow(["id", guarded(text), "end"])
    if separator == ",":
        file.seek(0)
        return next(csv.reader(file))
    return [cell.lstrip('"') for cell in re.split(f"[{separator}\r\n]", file.getvalue())]


@given(TEXTS)
def test_what_is_guarded_stands_for_what_it_was(text: str) -> None:
    assert unguarded(guarded(text)) == text


@given(TEXTS, st.sampled_from(",;\t"))
def test_no_cell_begins_with_a_sign_whatever_separates_cells(text: str, separator: str) -> None:
    found = cells(text, separator)
    assert [cell for cell in found if cell and cell[0] in SIGNS] == []


@pytest.mark.parametrize("text", ["", "Ada", "'Tis", "a-b", "a;b", "O'Brien", "http://a/?b=c"])
def test_what_no_spreadsheet_runs_is_left_alone(text: str) -> None:
    assert guarded(text) == (f"'{text}" if text.startswith("'") else text)
