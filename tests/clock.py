"""The moment that the tests take for now: the real one, or what `pytest --today` names.

`pytest --today 2028-02-29T23:30` shifts, by the same span and for the whole run,

- `chassis.clock`, from which the code, the tests and the benchmarks take the time, and PyJWT,
- `now()`, `clock_timestamp()` and `uuidv7()` of every embedded PostgreSQL,

in the test's own process and in every Python that it starts (`tests/subprocesses`). Not shifted are
clocks that measure durations or are read by people only: `time.monotonic()`, gRPC's deadlines, the
broker's, the log lines', and `current_date` and its like, which no SQL of ours uses (a test in
tests/invariants holds that).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import jwt.api_jwt

import chassis.clock
from devstack import servers

SHIFT = "TEST_CLOCK_SHIFT_SECONDS"
"""The variable by which the processes that a test starts learn of the shift."""
SUBPROCESSES = Path(__file__).parent / "subprocesses"
# PostgreSQL calls its own functions by number, whatever their rows say, but the planner replaces a
# call of one written in SQL by its text. So the text may not call the function itself.
SHIFT_POSTGRES = """
create or replace function pg_catalog.unshifted_clock() returns timestamptz
  language internal volatile as 'clock_timestamp';
create or replace function pg_catalog.now() returns timestamptz
  language sql stable as $$ select transaction_timestamp() + interval '{shift} seconds' $$;
create or replace function pg_catalog.clock_timestamp() returns timestamptz
  language sql volatile as $$ select unshifted_clock() + interval '{shift} seconds' $$;
create or replace function pg_catalog.uuidv7() returns uuid
  language sql volatile as $$ select uuidv7(interval '{shift} seconds') $$;
"""


def take_for_now(moment: datetime) -> None:
    """Shift the clocks of this process and of those it starts, so that it is `moment` now."""
    shift = (moment - datetime.now(UTC)).total_seconds()
    os.environ[SHIFT] = str(shift)
    earlier = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*found_by_subprocesses(), *filter(None, [earlier])])
    shift_clocks()


def found_by_subprocesses() -> list[str]:
    """Return the folders that a process which is to be shifted must have on its path."""
    root = SUBPROCESSES.parents[1]
    return [str(SUBPROCESSES), str(root), str(root / "protos")]


def shift_clocks() -> None:
    """Shift the clocks of this process as its environment says."""
    shift = timedelta(seconds=float(os.environ[SHIFT]))

    class Kind(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, datetime)

    class Shifted(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + shift

    for module in (chassis.clock, jwt.api_jwt):
        setattr(module, "datetime", Shifted)  # noqa: B010 -- not for the type checker to see
    if not hasattr(servers.postgres, "shifted"):
        setattr(servers, "postgres", _shifting(servers.postgres, shift))  # noqa: B010


def _shifting(postgres: Any, shift: timedelta) -> Any:
    sql = SHIFT_POSTGRES.format(shift=shift.total_seconds())

    @contextmanager
    def shifted(folder: Path, *, durable: bool = True) -> Iterator[servers.Postgres]:
        with postgres(folder, durable=durable) as server, ThreadPoolExecutor(1) as own_thread:
            for database in ("template1", "postgres"):
                work = _execute(server.dsn(database=database), sql)
                own_thread.submit(asyncio.run, work).result()
            yield server

    shifted.shifted = True  # type: ignore[attr-defined]
    return shifted


async def _execute(dsn: str, sql: str) -> None:
    import asyncpg  # noqa: PLC0415 -- a process that starts no database does without

    connection = await asyncpg.connect(dsn)
    await connection.execute(sql)
    await connection.close()
