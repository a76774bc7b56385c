"""A run as it is stored: rows read into the machine's state.

While a newer version is being rolled out, rows have sources and statuses that this version does not
know. Reading leaves them out, writing leaves them as they are, and a run that has one is left to a
worker of the newer version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import asyncpg
import structlog

from services.enrichment.run.plan import Known, KnownAnswer
from services.enrichment.run.state import RunStatus, Step, StepStatus
from services.enrichment.sources.catalogue import KNOWN, SOURCES, SourceName, from_json
from services.enrichment.sources.findings import Finding, Person

_log = structlog.get_logger()
_STEP_STATUSES = frozenset(status.value for status in StepStatus)
_RUN_STATUSES = frozenset(status.value for status in RunStatus)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The summary that a prospect has, and the key of the evidence that it rests on."""

    memo: str
    summary: Finding


def finding_of(row: asyncpg.Record, source: SourceName) -> Finding | None:
    """Return a source's finding from a prospect's row; None where none can be read."""
    text = row[SOURCES[source].column]
    try:
        return from_json(source, json.loads(text)) if text else None
    except ValueError:  # its text is what was found of a person: not for the log
        _log.error("a finding cannot be read", source=source.value)
        return None


def remembered(row: asyncpg.Record) -> Remembered | None:
    """Return the summary that a prospect's row has, with the key of its evidence."""
    summary = finding_of(row, SourceName.CLAUDE) if row["memo"] else None
    return Remembered(row["memo"], summary) if summary else None


def answers_of(row: asyncpg.Record) -> dict[SourceName, KnownAnswer]:
    """Return which sources have answered about a prospect; an unreadable answer is left out."""
    answers = {}
    try:
        for name, answer in json.loads(row["answered"]).items():
            if name in KNOWN and answer["status"] in _STEP_STATUSES:
                status, at = StepStatus(answer["status"]), datetime.fromisoformat(answer["at"])
                note = str(answer.get("note", ""))
                answers[SourceName(name)] = KnownAnswer(status, at, note)
    except (ValueError, TypeError, KeyError, AttributeError):
        _log.error("a prospect's answers cannot be read")
    return answers


def known_of(row: asyncpg.Record) -> Known:
    """Return what is known of a prospect, from its row."""
    return Known(person_of(row), answers_of(row))


def person_of(row: asyncpg.Record) -> Person:
    """Return the person whom a row is about."""
    return Person(**{name: row[name] for name in Person.__slots__})


@cache
def _step_fields() -> tuple[str, ...]:
    return tuple(name for name in Step.__slots__ if name not in ("source", "status"))


def is_of_newer_version(run: asyncpg.Record) -> bool:
    """Whether a run, with its steps, has a value that only a newer version knows."""
    return run["status"] not in _RUN_STATUSES or bool(newer_steps(run["steps"]))


def newer_steps(rows: Iterable[asyncpg.Record]) -> list[asyncpg.Record]:
    """Return the rows of steps whose source or status only a newer version knows."""
    return [
        row for row in rows if row["source"] not in KNOWN or row["status"] not in _STEP_STATUSES
    ]


def steps_of(rows: Iterable[asyncpg.Record]) -> dict[SourceName, Step]:
    """Return rows of steps as values, without those that only a newer version knows."""
    steps = [
        step_of(row) for row in rows if row["source"] in KNOWN and row["status"] in _STEP_STATUSES
    ]
    return {step.source: step for step in steps}


def step_of(row: asyncpg.Record) -> Step:
    """Return a row of steps as a value."""
    values: dict[str, Any] = {name: row[name] for name in _step_fields()}
    return Step(source=SourceName(row["source"]), status=StepStatus(row["status"]), **values)
