"""A run as it is stored: rows read into the machine's state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import asyncpg
import structlog

from services.enrichment.run.plan import Known, KnownAnswer
from services.enrichment.run.state import Step, StepStatus
from services.enrichment.sources.catalogue import SOURCES, SourceName, from_json
from services.enrichment.sources.findings import Finding, Subject


def known_of(row: asyncpg.Record) -> Known:
    """Return a row of prospects as what is known."""
    return Known(subject_of(row), answers_of(row))


_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Remembered:
    """The summary that a prospect has, and the key of the evidence that it rests on."""

    memo: str
    summary: Finding


def finding_of(row: asyncpg.Record, source: SourceName) -> Finding | None:
    """Return what a prospect's row has of a source; None where that cannot be read any more."""
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
    """Return which sources have answered about a prospect; what cannot be read has not."""
    answers = {}
    try:
        for name, answer in json.loads(row["answered"]).items():
            status, at = StepStatus(answer["status"]), datetime.fromisoformat(answer["at"])
            answers[SourceName(name)] = KnownAnswer(status, at)
    except (ValueError, TypeError, KeyError, AttributeError):
        _log.error("a prospect's answers cannot be read")
    return answers


def subject_of(row: asyncpg.Record) -> Subject:
    """Return whom a row is about."""
    return Subject(**{name: row[name] for name in Subject.__slots__})


@cache
def _step_fields() -> tuple[str, ...]:
    return tuple(name for name in Step.__slots__ if name not in ("source", "status"))


def step_of(row: asyncpg.Record) -> Step:
    """Return a row of steps as a value."""
    values: dict[str, Any] = {name: row[name] for name in _step_fields()}
    return Step(source=SourceName(row["source"]), status=StepStatus(row["status"]), **values)
