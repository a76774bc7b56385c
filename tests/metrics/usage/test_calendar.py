"""Where local days begin: one source, so a day, its hours, its week and its bounds agree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from chassis.database import Connection, open_pool
from services.metrics.usage import periods
from services.metrics.usage.calendar import Calendar, read_days
from tests.harness import Database

FIRST, LAST = date(2026, 1, 1), date(2027, 12, 31)
DAYS = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
ON_BOTH_SIDES = """
select (s at time zone $1)::date as day,
  ((s - interval '15 minutes') at time zone $1)::date as before
from unnest($2::timestamptz[]) with ordinality as u (s, place) order by place
"""


@pytest.fixture
async def connection(shared_database: Database) -> AsyncIterator[Connection]:
    pool = await open_pool(shared_database.dsn("metrics_app"), schema="metrics", size=1)
    async with pool.acquire() as connection:
        yield connection
    await pool.close()


async def test_in_every_zone_a_day_begins_where_postgres_counts_its_first_quarter(
    connection: Connection,
) -> None:
    zones = [row["name"] for row in await connection.fetch("select name from pg_timezone_names")]
    assert len(zones) > 400
    for zone in zones:
        local = await read_days(connection, zone, FIRST, LAST)
        sides = await connection.fetch(ON_BOTH_SIDES, zone, local.starts)
        assert [row["day"] for row in sides][:-1] == DAYS, zone
        assert all(row["before"] < row["day"] for row in sides), zone


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("America/Santiago", date(2026, 9, 6), 23),  # the clock skips 0:00
        ("Atlantic/Azores", date(2026, 10, 25), 25),  # 0:00 comes twice
        ("Australia/Lord_Howe", date(2026, 4, 5), 25),  # half an hour, so the last is half of one
        ("Asia/Kathmandu", date(2026, 5, 20), 24),
    ],
)
async def test_the_hours_of_a_day_lie_between_its_bounds(
    connection: Connection, zone: str, day: date, hours: int
) -> None:
    local = await read_days(connection, zone, day - timedelta(days=10), day + timedelta(days=10))
    (whole,) = periods.days(day, day, local)
    parts = periods.hours(day, day, local)
    assert len(parts) == hours
    assert (parts[0].start, parts[-1].end) == (whole.start, whole.end)
    assert all(one.end == next_one.start for one, next_one in pairwise(parts))


@pytest.mark.parametrize("cut", [periods.weeks, periods.months])
async def test_a_week_and_a_month_lie_between_the_bounds_of_their_days(
    connection: Connection, cut: Any
) -> None:
    local = await read_days(connection, "America/New_York", FIRST, LAST)
    by_day = {each.first_day: each for each in periods.days(FIRST, LAST, local)}
    for each in cut(FIRST, LAST, local):
        assert each.start == by_day[each.first_day].start
        assert each.end == by_day[each.last_day].end


async def test_a_midnight_that_comes_twice_is_the_first_one(
    connection: Connection,
) -> None:
    day = date(2026, 10, 25)
    local = await read_days(connection, "Atlantic/Azores", day, day)
    assert local.midnight(day) == datetime(2026, 10, 25, 0, 0, tzinfo=UTC)


async def test_what_is_asked_often_is_read_once(connection: Connection) -> None:
    calendar = Calendar()
    first = await calendar.days(connection, "Europe/Berlin", FIRST, FIRST)
    assert await calendar.days(connection, "Europe/Berlin", FIRST, FIRST) is first
    assert await calendar.days(connection, "Asia/Tokyo", FIRST, FIRST) is not first
