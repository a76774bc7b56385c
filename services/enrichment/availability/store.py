"""The sources' state in Postgres: a row a source, for the whole deployment.

A change of a breaker names the epoch that it rests on: of replicas that decide the same at once,
only the first changes the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis.database import Connection, Pool
from services.enrichment.sources.catalogue import KNOWN, SourceName
from services.enrichment.sql import SQL


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source's row; `successes` are those of probes since the breaker was opened."""

    source: SourceName
    state: str = "closed"
    epoch: int = 0
    reason: str = ""
    failures: int = 0
    successes: int = 0
    open_until: datetime | None = None
    openings: int = 0
    parked_until: datetime | None = None
    parked_reason: str = ""
    paused: bool = False
    paused_until: datetime | None = None
    paused_reason: str = ""

    def shown(self, now: datetime) -> tuple[str, datetime | None, str]:
        """Return closed, open, half_open, parked or paused, until when, and why."""
        if self.paused and not (self.paused_until and self.paused_until <= now):
            return "paused", self.paused_until, self.paused_reason
        if self.parked_until and self.parked_until > now:
            return "parked", self.parked_until, self.parked_reason
        until = self.open_until if self.state == "open" else None
        return self.state, until, self.reason


async def read_sources(connection: Connection) -> list[SourceState]:
    """Return the state of every source; a newer version's sources are not this one's to ask."""
    rows = await connection.fetch(SQL.read_sources)
    return [
        SourceState(**{**row, "source": SourceName(row["source"])})
        for row in rows
        if row["source"] in KNOWN
    ]


async def add_failure(connection: Connection, source: SourceName, epoch: int) -> int | None:
    """Count a failure; return how many there are in a row, None where the breaker has changed."""
    failures: int | None = await connection.fetchval(SQL.add_failure, source.value, epoch)
    return failures


async def forget_failures(connection: Connection, source: SourceName, epoch: int) -> None:
    """Begin to count failures again at 0."""
    await connection.execute(SQL.forget_failures, source.value, epoch)


async def change_source(
    connection: Connection,
    source: SourceName,
    epoch: int,
    state: str,
    reason: str,
    until: datetime | None,
    openings: int,
) -> bool:
    """Change a breaker; False where another replica was faster."""
    values = (source.value, epoch, state, reason[:300], until, openings)
    return bool(await connection.fetchval(SQL.change_source, *values))


async def begin_probing(
    connection: Connection, source: SourceName, epoch: int, patience: timedelta
) -> int | None:
    """Admit the one probe of a breaker that is due; return the epoch it counts in."""
    values = (source.value, epoch, patience)
    began: int | None = await connection.fetchval(SQL.begin_probing, *values)
    return began


async def admit_probe(
    connection: Connection, source: SourceName, epoch: int, patience: timedelta
) -> int | None:
    """Admit a probe to the wave under way; return the epoch that it counts in."""
    values = (source.value, epoch, patience)
    admitted: int | None = await connection.fetchval(SQL.admit_probe, *values)
    return admitted


async def pass_probe(connection: Connection, source: SourceName, epoch: int) -> int | None:
    """Count a probe that succeeded; return how many have, None where the breaker has changed."""
    successes: int | None = await connection.fetchval(SQL.pass_probe, source.value, epoch)
    return successes


async def give_back(connection: Connection, source: SourceName, epoch: int) -> None:
    """Let another probe leave for one that says nothing."""
    await connection.execute(SQL.give_back, source.value, epoch)


async def park_source(
    connection: Connection, source: SourceName, until: datetime, reason: str
) -> bool:
    """Ask a source nothing until then; False where it is parked for as long already."""
    return bool(await connection.fetchval(SQL.park_source, source.value, until, reason[:300]))


async def pause_source(
    connection: Connection, source: SourceName, paused: bool, until: datetime | None, reason: str
) -> None:
    """Pause a source, or let it be asked again."""
    await connection.execute(SQL.pause_source, source.value, paused, until, reason)


async def take_slots(
    pool: Pool, source: SourceName, wanted: int, interval: timedelta, horizon: timedelta
) -> float | None:
    """Take slots; return the seconds to the first, None where they lie too far ahead."""
    values = (source.value, wanted, interval, horizon)
    delay: float | None = await pool.fetchval(SQL.take_slots, *values)
    return delay
