"""Days as people name them; any other text is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import typer

from services.cli.usage.options import parse_days

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (None, "today", "2026-10-25", "2026-11-23"),
        (None, "2026-03-01", "2026-01-31", "2026-03-01"),
        ("yesterday", "today", "2026-11-22", "2026-11-23"),
        ("7d", "1d", "2026-11-16", "2026-11-22"),
        ("2026-11-23", "2026-11-23", "2026-11-23", "2026-11-23"),
    ],
)
def test_days_are_named_by_date_or_by_how_long_ago_they_are(
    start: str | None, end: str, first: str, last: str
) -> None:
    assert parse_days(start, end).fixed(MONDAY.date()) == (first, last)


def test_today_is_asked_of_the_service_only_where_a_day_depends_on_it() -> None:
    assert not parse_days("2026-11-01", "2026-11-30").need_today()
    assert parse_days("2026-11-01", "today").need_today()


@pytest.mark.parametrize("text", ["", "tomorrow", "20261123", "2026-11-31", "-1d", "99999999999d"])
def test_a_text_that_names_no_day_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_days("2026-11-01", text).fixed(date(2026, 11, 23))


def test_days_before_the_calendar_are_refused() -> None:
    for start, end in ((None, "0001-01-05"), ("9999999d", "today")):
        with pytest.raises(typer.BadParameter, match="there is no day"):
            parse_days(start, end).fixed(date(2026, 11, 23))
