"""A log line of something raised says what and where, and nothing that a user typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from devstack.stack import ROOT

TYPED = "ada@engines.example"
PROGRAM = """
import asyncio, logging, asyncpg, structlog
from chassis import telemetry
telemetry.configure_logging("test")
def bug(text):
    try:
        raise asyncpg.UniqueViolationError(f"Key ({text}) exists")
    except Exception as error:
        error.sqlstate, error.constraint_name = "23505", "one_of_each"
        raise ExceptionGroup(text, [KeyError(text), ValueError(text)]) from error
text = "@".join(["ada", "engines.example"])
try:
    bug(text)
except Exception as error:
    structlog.get_logger().error("bug", exc_info=error)
    structlog.get_logger().exception("bug")
    logging.getLogger("library").exception("it failed")
async def forgotten():
    async def fail():
        bug(text)
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
asyncio.run(forgotten())
"""


@pytest.fixture(scope="module")
def log() -> str:
    """What a process that fails in several ways writes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stderr


def test_what_was_raised_is_named_with_its_place_and_without_its_text(log: str) -> None:
    assert TYPED not in log
    first, second = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    for line in (first, second):
        assert "in bug" in line["exception"]
        for name in ("ExceptionGroup", "KeyError", "ValueError"):
            assert name in line["exception"]
        assert (
            "UniqueViolationError sqlstate=23505 constraint_name=one_of_each" in line["exception"]
        )


def test_libraries_write_so_too(log: str) -> None:
    assert "library: it failed\n" in log
    assert "asyncio: Task exception was never retrieved\n" in log
