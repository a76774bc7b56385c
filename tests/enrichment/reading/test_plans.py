"""Plans: a page is read from its index, however much a tenant has."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chassis.database import Pool, tenant_transaction
from services.enrichment.sql import SQL
from tests.enrichment.rows import NOON
from tests.harness import Database

TENANT, PROSPECT, BATCH = (uuid.UUID(int=n) for n in (1, 2, 3))
HIGHEST = uuid.UUID(int=2**128 - 1)
MIDDLE = NOON + timedelta(minutes=1000)
FILL = (
    "insert into enrichment.prospects (tenant_id, prospect_id, name, company, created_at,"
    " enrichment_source_status) select $1, case when n = 1 then $2 else gen_random_uuid() end,"
    " 'n', 'c', $3::timestamptz + n * interval '1 minute', '{\"exa\": \"complete\"}'"
    " from generate_series(1, 3000) n",
    "insert into enrichment.runs (tenant_id, run_id, prospect_id, user_id, status, created_at,"
    " deadline_at, ended_at, open) select $1, gen_random_uuid(), case when n % 300 = 0 then $2"
    " else p.prospect_id end, $1, 'complete', $3::timestamptz + n * interval '1 minute',"
    " $3, $3, false"
    " from (select prospect_id, row_number() over () as n from enrichment.prospects"
    " where tenant_id = $1) p",
    "insert into enrichment.steps (tenant_id, run_id, source) select tenant_id, run_id, s"
    " from enrichment.runs, unnest('{contactout,exa,sec,claude}'::text[]) s where tenant_id = $1",
    "insert into enrichment.attempts (tenant_id, run_id, source, attempt, started_at)"
    " select tenant_id, run_id, source, 1, timestamptz '2026-01-01 00:00+00'"
    " from enrichment.steps where tenant_id = $1",
    "insert into enrichment.batches (tenant_id, batch_id, user_id) values ($1, $2, $1)",
    "insert into enrichment.batch_runs (tenant_id, batch_id, place, run_id, end_order)"
    " select $1, $2, n, run_id, n from (select run_id, row_number() over () as n"
    " from enrichment.runs where tenant_id = $1 limit 20) r",
)
NOTHING = (None, None, None, None, None)


@pytest.fixture
async def filled(database: Database) -> Database:
    """A tenant with three thousand prospects, and one with as many of its own."""
    for tenant_id in (TENANT, uuid.UUID(int=9)):
        for sql in FILL:
            values = (tenant_id, BATCH if "batch" in sql else PROSPECT, NOON)
            await database.fetch(sql, *values[: 1 + ("$2" in sql) + ("$3" in sql)])
    await database.fetch("vacuum analyze")
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a plan's nodes."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def plan_of(pool: Pool, name: str, *values: Any) -> list[dict[str, Any]]:
    """Run a statement as the service does; return the nodes of its plan."""
    async with tenant_transaction(pool, TENANT, plans="force_custom_plan") as connection:
        text = await connection.fetchval(
            f"explain (analyze, format json) {SQL.statements[name]}", *values
        )
    return list(nodes(json.loads(text)[0]["Plan"]))


def rows_read(plan: list[dict[str, Any]], table: str) -> float:
    """Return how many rows of a table were looked at."""
    return sum(
        float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        * float(node["Actual Loops"])
        for node in plan
        if node.get("Relation Name") == table
    )


PAGES: list[tuple[str, tuple[Any, ...], str]] = [
    ("list_runs", (None, None, None, *NOTHING, 10), "runs_newest"),
    ("list_runs", (MIDDLE, HIGHEST, None, *NOTHING, 10), "runs_newest"),
    ("list_runs", (None, None, PROSPECT, *NOTHING, 5), "runs_of_prospect"),
    ("list_prospects", (None, None, None, None, None, None, 10), "prospects_newest"),
    ("list_prospects", (MIDDLE, HIGHEST, None, "exa", "complete", None, 10), "prospects_newest"),
    ("list_ended_in_batch", (BATCH, 10, 5), "batch_runs_ended"),
]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("pool", ["enrichment"], indirect=True)
@pytest.mark.parametrize(("name", "values", "index"), PAGES, ids=str)
async def test_a_page_reads_no_more_than_it_shows(
    pool: Pool, name: str, values: tuple[Any, ...], index: str
) -> None:
    plan = await plan_of(pool, name, TENANT, *values)
    assert index in {node.get("Index Name") for node in plan}
    assert not [node for node in plan if node["Node Type"] == "Seq Scan"]
    table = index.split("_", maxsplit=1)[0] if index != "batch_runs_ended" else "batch_runs"
    assert rows_read(plan, table) <= values[-1] + 1
    assert rows_read(plan, "steps") <= 2 * 4 * values[-1]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("pool", ["enrichment"], indirect=True)
@pytest.mark.parametrize("after", [(None, None), (MIDDLE, HIGHEST)])
async def test_a_page_of_a_batch_reads_its_own_runs_only(
    pool: Pool, after: tuple[Any, Any]
) -> None:
    plan = await plan_of(pool, "list_runs_of_batch", TENANT, *after, None, *NOTHING, 10, BATCH)
    assert rows_read(plan, "runs") <= 20


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("pool", ["enrichment"], indirect=True)
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch_progress", (BATCH,)),
        ("source_day", (NOON,)),
        ("read_known", ([PROSPECT],)),
        ("list_attempts", (PROSPECT,)),
    ],
)
async def test_nothing_reads_the_whole_of_runs_or_attempts(
    pool: Pool, name: str, values: tuple[Any, ...]
) -> None:
    plan = await plan_of(pool, name, TENANT, *values)
    assert rows_read(plan, "runs") <= 20
    assert not [
        node
        for node in plan
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in ("attempts", "runs")
    ]
