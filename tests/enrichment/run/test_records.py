"""A run's rows as values, and its steps as messages: nothing lost, and what is broken left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from prospect.enrichment.v1 import prospect_pb2 as pb
from structlog.testing import capture_logs

from chassis.clock import to_timestamp
from services.enrichment.run.messages import (
    newer_step_message,
    run_status,
    step_message,
    step_status,
    steps_in_order,
)
from services.enrichment.run.plan import Known, KnownAnswer
from services.enrichment.run.records import (
    Remembered,
    answers_of,
    finding_of,
    is_of_newer_version,
    known_of,
    newer_steps,
    person_of,
    remembered,
    step_of,
    steps_of,
)
from services.enrichment.run.state import Step, StepStatus
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Finding, Person, to_json
from tests.enrichment.engine import finding

CONTACTOUT, EXA, SEC = SourceName.CONTACTOUT, SourceName.EXA, SourceName.SEC
CLAUDE = SourceName.CLAUDE
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ADA = Person("Ada", "Engines", "Countess", "a@b.example", "linkedin.com/in/ada", True, 7)
WORDS = {name: getattr(ADA, name) for name in Person.__slots__}
STEP = Step(
    EXA,
    status=StepStatus.PENDING,
    reason="the reason",
    error_class="transient",
    attempts=3,
    uncertain_attempts=1,
    failures=2,
    cost_micros=7,
    lookup="email",
    started_at=NOW,
    ended_at=NOW.replace(hour=13),
    next_attempt_at=NOW.replace(hour=14),
    ready_at=NOW.replace(hour=15),
    parked_at=NOW.replace(hour=16),
    reused=True,
)


def stored(value: Finding) -> str:
    return json.dumps(to_json(value))


def test_a_row_is_whom_it_is_about_and_which_sources_have_answered() -> None:
    answered = {"exa": {"status": "not_found", "at": NOW.isoformat()}}
    row: Any = {**WORDS, "answered": json.dumps(answered)}
    assert person_of(row) == ADA
    assert known_of(row) == Known(ADA, {EXA: KnownAnswer(StepStatus.NOT_FOUND, NOW)})


def test_what_was_looked_through_in_vain_is_remembered() -> None:
    answered = {"sec": {"status": "not_found", "at": NOW.isoformat(), "note": "no trades"}}
    row: Any = {**WORDS, "answered": json.dumps(answered)}
    assert known_of(row).answers[SourceName.SEC].note == "no trades"


@pytest.mark.parametrize(
    "answered",
    ["{", "[]", '{"exa": 7}', '{"exa": {}}', '{"exa": {"status": "x", "at": "2026-11-24"}}'],
)
def test_answers_that_cannot_be_read_are_none(answered: str) -> None:
    row: Any = {"answered": answered}
    assert answers_of(row) == {}


def test_answers_that_cannot_be_read_are_logged() -> None:
    row: Any = {"answered": "{"}
    with capture_logs() as logged:
        answers_of(row)
    assert [each["event"] for each in logged] == ["a prospect's answers cannot be read"]


@pytest.mark.parametrize(("name", "status"), [("newer", "complete"), ("exa", "newer")])
def test_an_answer_that_only_a_newer_version_knows_is_left_out(name: str, status: str) -> None:
    known = {"sec": {"status": "complete", "at": NOW.isoformat()}}
    newer = {name: {"status": status, "at": NOW.isoformat()}}
    row: Any = {"answered": json.dumps(newer | known)}
    assert answers_of(row) == {SEC: KnownAnswer(StepStatus.COMPLETE, NOW)}


def test_a_finding_is_read_from_its_sources_column() -> None:
    row: Any = {SOURCES[EXA].column: stored(finding(EXA)), SOURCES[SEC].column: None}
    assert finding_of(row, EXA) == finding(EXA)
    assert finding_of(row, SEC) is None


def test_a_finding_that_cannot_be_read_any_more_is_none_and_its_source_is_logged() -> None:
    row: Any = {SOURCES[EXA].column: "{"}
    with capture_logs() as logged:
        assert finding_of(row, EXA) is None
    assert [(each["event"], each["source"]) for each in logged] == [
        ("a finding cannot be read", "exa")
    ]


def test_a_summary_is_remembered_with_the_key_of_its_evidence() -> None:
    summary = finding(CLAUDE)
    row: Any = {"memo": "key", SOURCES[CLAUDE].column: stored(summary)}
    assert remembered(row) == Remembered("key", summary)


@pytest.mark.parametrize(("memo", "text"), [(None, stored(finding(CLAUDE))), ("key", None)])
def test_a_summary_without_a_key_and_a_key_without_a_summary_are_nothing(
    memo: str | None, text: str | None
) -> None:
    row: Any = {"memo": memo, SOURCES[CLAUDE].column: text}
    assert remembered(row) is None


def test_a_row_of_steps_is_a_step_with_all_its_values() -> None:
    row: Any = {name: getattr(STEP, name) for name in Step.__slots__}
    row |= {"source": "exa", "status": "pending"}
    assert step_of(row) == STEP
    assert step_of(row | {"status": "failed"}).status is StepStatus.FAILED


@pytest.mark.parametrize("newer", [{"source": "newer"}, {"status": "newer"}])
def test_steps_that_only_a_newer_version_knows_are_left_out(newer: dict[str, str]) -> None:
    row: Any = {name: getattr(STEP, name) for name in Step.__slots__}
    row |= {"source": "exa", "status": "pending"}
    assert steps_of([row | newer, row]) == {EXA: STEP}
    assert newer_steps([row | newer, row]) == [row | newer]


@pytest.mark.parametrize(
    ("status", "source", "step_status"),
    [
        ("newer", "exa", "pending"),
        ("in_progress", "newer", "pending"),
        ("in_progress", "exa", "newer"),
    ],
)
def test_a_run_with_a_value_that_is_not_known_is_of_a_newer_version(
    status: str, source: str, step_status: str
) -> None:
    step = {"source": source, "status": step_status}
    run: Any = {"status": status, "steps": [step]}
    assert is_of_newer_version(run)
    known: Any = {"status": "in_progress", "steps": [{"source": "exa", "status": "pending"}]}
    assert not is_of_newer_version(known)


def test_a_step_that_only_a_newer_version_knows_is_told_as_it_is_stored() -> None:
    row: Any = {name: getattr(STEP, name) for name in Step.__slots__}
    row |= {"source": "newer", "status": "pending"}
    expected = step_message(STEP)
    expected.source = "newer"
    assert newer_step_message(row) == expected


def test_a_step_as_a_message_has_what_a_caller_may_know() -> None:
    assert step_message(STEP) == pb.Step(
        source="exa",
        status=pb.SOURCE_STATUS_PENDING,
        reason="the reason",
        error_class="transient",
        attempts=3,
        uncertain_attempts=1,
        cost_micros=7,
        started_at=to_timestamp(NOW),
        ended_at=to_timestamp(NOW.replace(hour=13)),
        next_attempt_at=to_timestamp(NOW.replace(hour=14)),
        is_reused=True,
        lookup="email",
    )


def test_steps_come_in_the_order_of_the_sources() -> None:
    steps = {source: Step(source) for source in (CLAUDE, EXA, CONTACTOUT)}
    assert [each.source for each in steps_in_order(steps)] == ["contactout", "exa", "claude"]


def test_every_status_of_a_step_has_its_message() -> None:
    for status in StepStatus:
        message = step_message(Step(EXA, status=status))
        assert pb.SourceStatus.Name(message.status) == f"SOURCE_STATUS_{status.value.upper()}"


def test_a_runs_status_has_its_message() -> None:
    assert run_status("in_progress") == pb.ENRICHMENT_STATUS_IN_PROGRESS


def test_a_status_that_only_a_newer_version_knows_is_unspecified() -> None:
    assert run_status("newer") == pb.ENRICHMENT_STATUS_UNSPECIFIED
    assert step_status("newer") == pb.SOURCE_STATUS_UNSPECIFIED
