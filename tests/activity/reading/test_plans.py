"""Plans: every statement that reads a range of time scans the months of that range and no other."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.database import Pool, tenant_transaction
from services.activity.entries.filters import Filter
from services.activity.sql import SQL
from tests.harness import Database

TENANT = uuid.uuid4()
USER, LOWEST, HIGHEST = uuid.uuid4(), uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
ROWS = """
insert into activity.activity_log
  (tenant_id, activity_id, user_id, action_type, metadata, created_at)
select $1, gen_random_uuid(), case when n % 50 = 0 then $2 else gen_random_uuid() end,
  case when n % 9 = 0 then 'login' else 'note_added' end, jsonb_build_object('n', n % 1000),
  timestamptz '2026-01-01 00:00+00' + n * interval '4 hours'
from generate_series(0, 2000) n
"""
# So many that reading all of them costs more than an index does.
MORE = """
insert into activity.activity_log
  (tenant_id, activity_id, user_id, action_type, metadata, created_at)
select $1, gen_random_uuid(), $1, 'login', jsonb_build_object('n', n),
  timestamptz '2026-03-20 00:00+00' + n * interval '1 minute'
from generate_series(1001, 41000) n
"""


def micros(day: str) -> int:
    """Return midnight of a day as statements take it."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


START, END = micros("2026-03-15"), micros("2026-05-01")
MONTHS = {f"activity_log_2026_0{month}" for month in (3, 4)}
NEWEST, OLDEST = (END, LOWEST, 100), (START - 1, HIGHEST, 100)
EVERYTHING = Filter(START, END)
BY_USER = Filter(START, END, user_ids=[str(USER)])
BY_ACTION = Filter(START, END, action_types=["login"])
RARE = Filter(START, END, metadata='{"n": 7}')
READS: list[tuple[str, Filter, tuple[Any, ...]]] = [
    ("list_newest", EVERYTHING, NEWEST),
    ("list_oldest", EVERYTHING, OLDEST),
    ("list_newest_by_user", BY_USER, NEWEST),
    ("list_oldest_by_user", BY_USER, OLDEST),
    ("list_newest_by_action", BY_ACTION, NEWEST),
    ("list_oldest_by_action", BY_ACTION, OLDEST),
    ("list_newest_of_few", RARE, NEWEST),
    ("list_oldest_of_few", RARE, OLDEST),
    ("count", EVERYTHING, ("day", True, True, None, None, None, 100)),
    ("export_ndjson", EVERYTHING, ()),
    ("export_csv", BY_USER, ()),
]


@pytest.fixture
async def filled(database: Database) -> Database:
    """A log of eleven months."""
    await database.fetch("select activity.ensure_partitions('2026-01-01', '2026-12-01')")
    await database.fetch(ROWS, TENANT, USER)
    await database.fetch("analyze activity.activity_log")
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a plan's nodes."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def plan_of(pool: Pool, mode: str, name: str, *values: Any) -> list[dict[str, Any]]:
    """Run a statement as the service does; return the nodes of its plan."""
    async with tenant_transaction(pool, TENANT) as connection:
        await connection.execute("select set_config('plan_cache_mode', $1, true)", mode)
        text = await connection.fetchval(
            f"explain (analyze, format json) {SQL.statements[name]}", *values
        )
    return list(nodes(json.loads(text)[0]["Plan"]))


def scanned(plan: list[dict[str, Any]]) -> set[str]:
    """Return the partitions that a plan touches."""
    return {node["Relation Name"] for node in plan if "Relation Name" in node}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(("name", "wanted", "more"), READS, ids=[name for name, _, _ in READS])
async def test_a_range_scans_its_own_months_only(
    pool: Pool, mode: str, name: str, wanted: Filter, more: tuple[Any, ...]
) -> None:
    plan = await plan_of(pool, mode, name, TENANT, *wanted.values(), *more)
    assert scanned(plan) == MONTHS


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_one_entry_is_looked_for_in_its_own_month_only(pool: Pool, mode: str) -> None:
    moment = micros("2026-07-14")
    plan = await plan_of(pool, mode, "get", TENANT, moment, moment + 1, USER)
    assert scanned(plan) == {"activity_log_2026_07"}


@pytest.mark.parametrize(
    ("name", "cursor"), [("list_newest_of_few", NEWEST), ("list_oldest_of_few", OLDEST)]
)
async def test_rare_metadata_are_found_by_their_index(
    filled: Database, pool: Pool, name: str, cursor: tuple[Any, ...]
) -> None:
    await filled.fetch(MORE, TENANT)
    await filled.fetch("analyze activity.activity_log")
    values = (TENANT, *RARE.values(), *cursor)
    plan = await plan_of(pool, "force_custom_plan", name, *values)
    indexes = {node["Index Name"] for node in plan if "Index Name" in node}
    assert indexes == {f"{month}_metadata_idx" for month in MONTHS}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", ["list_newest", "list_newest_by_user", "list_newest_by_action"])
async def test_a_page_deep_in_the_log_reads_no_more_rows_than_the_first(
    pool: Pool, name: str
) -> None:
    wanted = Filter(micros("2026-01-01"), micros("2027-01-01"), [str(USER)], ["login"])
    if name == "list_newest":
        wanted = Filter(wanted.start, wanted.end)

    async def rows_read(day: str) -> float:
        cursor = (micros(day), LOWEST, 5)
        within = (TENANT, wanted.start, micros(day), *wanted.values()[2:])
        plan = await plan_of(pool, "auto", name, *within, *cursor)
        leaves = [node for node in plan if "Relation Name" in node]
        return sum(
            float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
            * float(node["Actual Loops"])
            for node in leaves
        )

    assert await rows_read("2026-03-01") <= 2 * await rows_read("2026-11-01") + 100


async def test_a_days_digests_take_one_scan_of_its_month_by_an_index(filled: Database) -> None:
    await filled.fetch(MORE, TENANT)
    await filled.fetch("vacuum analyze activity.activity_log")
    (function,) = await filled.fetch(
        "select prosrc from pg_proc where oid = 'activity.day_digests'::regproc"
    )
    query = function["prosrc"].replace("(day + 1)", "date '2026-04-03'")
    query = query.replace("day::timestamp", "date '2026-04-02'::timestamp")
    (row,) = await filled.fetch(f"explain (format json) {query}")
    plan = list(nodes(json.loads(row[0])[0]["Plan"]))
    of_log = [each for each in plan if each.get("Relation Name", "").startswith("activity_log")]
    assert [each["Relation Name"] for each in of_log] == ["activity_log_2026_04"]
    assert of_log[0]["Node Type"] != "Seq Scan"
