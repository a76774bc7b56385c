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
    logging.getLogger("library").exception("it failed for %s", text)
async def forgotten():
    async def fail():
        bug(text)
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
asyncio.run(forgotten())
"""

UNCAUGHT = """
import asyncio, threading, warnings, uvloop
from chassis import telemetry
telemetry.configure_logging("test")
text = "@".join(["ada", "engines.example"])
class Finalized:
    def __del__(self):
        in_finalizer(text)
def in_finalizer(text):
    raise ValueError(text)
def in_callback(text):
    raise ValueError(text)
def in_thread(text):
    raise ValueError(text)
async def in_task(text):
    raise ValueError(text)
async def main():
    loop = asyncio.get_running_loop()
    telemetry.log_uncaught(loop)
    Finalized()
    loop.call_soon(in_callback, text)
    thread = threading.Thread(target=in_thread, args=(text,), name=text)
    thread.start()
    thread.join()
    warnings.warn(text)
    loop.call_exception_handler({"message": "Task was destroyed but it is pending!"})
    task = loop.create_task(in_task(text))
    await asyncio.sleep(0.01)
    del task
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(in_task(text))
with asyncio.Runner(loop_factory=LOOP) as runner:
    runner.run(main())
"""


@pytest.fixture(scope="module")
def log() -> str:
    """What a process that fails in several ways writes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stderr


@pytest.fixture(scope="module", params=["asyncio.new_event_loop", "uvloop.new_event_loop"])
def end(request: pytest.FixtureRequest) -> str:
    """What a process writes that nobody keeps from failing, and that ends so."""
    program = UNCAUGHT.replace("LOOP", request.param)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    return done.stderr


def test_what_was_raised_is_named_with_its_place_and_without_its_text(log: str) -> None:
    assert TYPED not in log
    lines = [json.loads(line) for line in log.splitlines()]
    first, second = (each for each in lines if each["event"] == "bug")
    for line in (first, second):
        assert "in bug" in line["exception"]
        for name in ("ExceptionGroup", "KeyError", "ValueError"):
            assert name in line["exception"]
        assert (
            "UniqueViolationError sqlstate=23505 constraint_name=one_of_each" in line["exception"]
        )


def test_libraries_write_so_too(log: str) -> None:
    lines = [json.loads(line) for line in log.splitlines()]
    said = {each["logger"]: each["event"] for each in lines if "logger" in each}
    assert said == {"library": "it failed for %s", "asyncio": "Task exception was never retrieved"}


def test_what_nobody_catches_is_a_line_without_its_text_like_all_others(end: str) -> None:
    assert TYPED not in end
    lines = [json.loads(line) for line in end.splitlines()]
    raised = {each["place"]: each["exception"] for each in lines if each["event"] == "uncaught"}
    assert set(raised) == {"event loop", "thread", "finalizer"}
    for name in ("thread", "finalizer"):
        assert f"in in_{name}" in raised[name]
    of_loop = [each.get("exception", "") for each in lines if each.get("place") == "event loop"]
    assert any("in in_callback" in each for each in of_loop)
    assert any("in in_task" in each for each in of_loop)
    assert "Task was destroyed but it is pending!" in [each["event"] for each in lines]
    assert "UserWarning" in [each.get("category") for each in lines]


def test_what_ends_a_process_is_its_last_line(end: str) -> None:
    last = json.loads(end.splitlines()[-1])
    assert (last["event"], last["level"]) == ("ended by an error", "critical")
    assert "in in_task" in last["exception"]
