"""Every action type of the contract is recorded, listed, counted and proven; none is forgotten.

A new action type fails here until the log takes it, a counter counts it, and what compares the
roll-up with itself and with the log looks at that counter.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.clock import new_id, to_timestamp, utc_now
from devstack.stack import ROOT
from services.metrics.counters import NEW_LIST, TABLE
from tests.harness import Database, Identity, Services
from tests.metrics.conftest import Pair, running_pair

ACTIONS = {name: number for name, number in activity_pb.ActionType.items() if number}
CONTRACT = ROOT / "protos/prospect/metrics/v1/metrics_service.proto"
COLUMNS = [row.column for row in TABLE]
OF_ONE_ACTION = [row.column for row in TABLE if row.codes and row.codes != (NEW_LIST,)]
SECONDS = 15
# Yesterday's noon: a day that is over, whatever the hour.
NOON = (utc_now() - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
DAY = NOON.date().isoformat()


def test_every_action_type_has_one_counter() -> None:
    counted = Counter(code for row in TABLE for code in row.codes[:1])
    assert counted == Counter([*ACTIONS.values(), NEW_LIST])


async def test_the_log_knows_every_action_type_by_its_number(shared_database: Database) -> None:
    rows = await shared_database.fetch("select name, number from activity.action_types")
    assert {f"ACTION_TYPE_{row['name'].upper()}": row["number"] for row in rows} == ACTIONS


def test_every_counter_of_the_contract_has_a_row_and_fields() -> None:
    assert [row.number for row in TABLE] == [number for number in pb.Counter.values() if number]
    assert [field.name for field in pb.Counters.DESCRIPTOR.fields] == COLUMNS
    assert [field.name for field in pb.DailyUsage.DESCRIPTOR.fields][2:] == COLUMNS
    assert len({row.heading for row in TABLE}) == len(TABLE)


def test_a_counter_counts_what_its_comment_in_the_contract_says() -> None:
    promised = re.findall(r"// (COUNTER_\w+) counts (.+)\.", CONTRACT.read_text())
    assert dict(promised) == {pb.Counter.Name(row.number): counted(*row.codes) for row in TABLE}


def counted(action: int = 0, new_list: int = 0) -> str:
    """Return in the contract's words what is counted by these codes."""
    names = {0: "every entry", NEW_LIST: "add_to_list entries that made a new list"}
    for name, number in ACTIONS.items():
        names[number] = name.removeprefix("ACTION_TYPE_").lower()
    return f"{names[action]}{', those that made a new list included' if new_list else ''}"


def test_a_heading_is_a_word_of_its_counters_name() -> None:
    headings = {row.column: row.heading.split()[-1] for row in TABLE if row.codes}
    assert [column for column, word in headings.items() if word[:4] not in column] == []


TABLES = """
select table_name from information_schema.columns
where table_schema = 'metrics' and column_name = $1
"""


@pytest.mark.parametrize("column", COLUMNS)
async def test_every_table_of_usage_has_a_column_for_each_counter(
    shared_database: Database, column: str
) -> None:
    tables = "select table_name from information_schema.columns where table_schema = 'metrics'"
    holding = {
        row[0] for row in await shared_database.fetch(f"{tables} and column_name = $1", column)
    }
    assert holding == {
        "usage_metrics_quarter_hours",
        "usage_metrics_daily",
        "usage_metrics_daily_totals",
        "usage_shadow",
    }


SUMS = "select conname, pg_get_constraintdef(oid) from pg_constraint where conname like '%_adds_up'"
READERS = """
select proname, pg_get_functiondef(oid) from pg_proc
where pronamespace = 'metrics'::regnamespace and proname in ('uneven_days', 'daily_totals')
"""


@pytest.mark.parametrize(
    ("statement", "number", "columns"), [(SUMS, 4, OF_ONE_ACTION), (READERS, 2, COLUMNS)]
)
async def test_what_adds_counters_up_and_compares_them_leaves_none_out(
    shared_database: Database, statement: str, number: int, columns: list[str]
) -> None:
    texts = dict(map(tuple, await shared_database.fetch(statement)))
    assert len(texts) == number
    assert [(n, each) for n, text in texts.items() for each in columns if each not in text] == []


@pytest.fixture
async def pair(services: Services) -> AsyncIterator[Pair]:
    async with running_pair(services) as pair:
        yield pair


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
async def test_an_entry_of_every_action_type_is_recorded_listed_counted_and_proven(
    pair: Pair, ours: Identity, action: activity_pb.ActionType.ValueType
) -> None:
    entry = activity_pb.NewActivity(
        activity_id=str(new_id()),
        user_id=str(uuid.uuid4()),
        action_type=action,
        created_at=to_timestamp(NOON),
    )
    await pair.activity.RecordActivities(
        activity_pb.RecordActivitiesRequest(activities=[entry]), metadata=ours.metadata()
    )
    listed = await pair.activity.ListActivities(
        activity_pb.ListActivitiesRequest(filter=activity_pb.ActivityFilter(action_types=[action])),
        metadata=ours.metadata(),
    )
    assert [(each.activity_id, each.action_type) for each in listed.activities] == [
        (entry.activity_id, action)
    ]
    counted = await counters_of(pair, ours)
    assert counted.pop("total_activities") == 1
    assert list(counted.values()) == [1]
    verify = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY, thorough=True)
    verified = pair.metrics.VerifyUsage(verify, metadata=ours.metadata("metrics:audit"))
    (said,) = [response async for response in verified]
    assert (said.activity_count, list(said.findings)) == (1, [])


async def counters_of(pair: Pair, who: Identity) -> dict[str, int]:
    """Return the counters of the day that count something, once any does."""
    request = pb.GetUsageRequest(start_date=DAY, end_date=DAY, grain=pb.USAGE_GRAIN_DAY)
    async with asyncio.timeout(SECONDS):
        while True:
            response = await pair.metrics.GetUsage(request, metadata=who.metadata())
            (day,) = response.periods
            if day.count:
                return {field.name: value for field, value in day.counters.ListFields()}
            await asyncio.sleep(0.02)
