"""Money is read and shown exactly, in dollars."""

from __future__ import annotations

import pytest

from services.cli.terminal.dollars import dollars, parse_dollars


@pytest.mark.parametrize(
    ("text", "micros"), [("0.50", 500_000), ("$1", 1_000_000), ("0.000001", 1), ("1e3", 10**9)]
)
def test_dollars_are_read_exactly(text: str, micros: int) -> None:
    assert parse_dollars("--budget", text) == micros


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "$0.00"), (300_000, "$0.30"), (6_004, "$0.006004"), (1_234_567_890_000, "$1,234,567.89")],
)
def test_dollars_are_shown_whole(micros: int, text: str) -> None:
    assert dollars(micros) == text
