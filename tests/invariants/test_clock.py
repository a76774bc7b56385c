"""Code and SQL take the time from where `pytest --today` can shift it, and all of it is shifted."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import datetime, timedelta

from chassis.clock import utc_now
from devstack.stack import ROOT
from tests.harness import Database

PYTHON_CLOCKS = re.compile(
    r"\b(datetime\.(now|utcnow|today)|date\.today|time\.(time|time_ns|localtime|gmtime))\b"
)
SQL_CLOCKS = re.compile(
    r"\b(current_(date|time|timestamp)|localtime(stamp)?|(transaction|statement)_timestamp"
    r"|timeofday)\b|'(now|today|tomorrow|yesterday)'",
    re.IGNORECASE,
)
READ_THE_CLOCK = {"chassis/clock.py", "chassis/telemetry.py"}  # the latter for log lines
DATABASE_CLOCKS = """
select now(), clock_timestamp(), uuid_extract_timestamp(uuidv7()) as id,
  (select max(applied_at) from activity.schema_migrations) as by_default
"""
PRINT_NOW = "from chassis.clock import utc_now; print(utc_now().isoformat())"


def test_only_one_module_reads_the_clock() -> None:
    read = {
        str(path.relative_to(ROOT))
        for folder in ("chassis", "services", "devstack")
        for path in (ROOT / folder).rglob("*.py")
        if PYTHON_CLOCKS.search(path.read_text())
    }
    assert read == READ_THE_CLOCK


def test_no_sql_reads_a_clock_that_tests_cannot_shift() -> None:
    migrations_and_queries = [
        path for folder in ("chassis", "services") for path in (ROOT / folder).rglob("*.sql")
    ]
    paths = [*migrations_and_queries, *(ROOT / "chassis").glob("*.py")]
    found = {str(path.relative_to(ROOT)): SQL_CLOCKS.findall(path.read_text()) for path in paths}
    assert {path: clocks for path, clocks in found.items() if clocks} == {}


async def test_the_clocks_of_processes_and_of_the_database_agree(
    shared_database: Database,
) -> None:
    (told,) = await shared_database.fetch(DATABASE_CLOCKS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PRINT_NOW, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    moments = [*told.values(), datetime.fromisoformat(printed.decode().strip())]
    assert max(abs(utc_now() - moment) for moment in moments) < timedelta(hours=1)
