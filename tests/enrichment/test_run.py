"""The run's state machine: what is called when, what an outcome means, and that it always ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrichment.findings import (
    Answer,
    ErrorClass,
    Provenance,
    SourceError,
    SourceName,
    Subject,
    WebFindings,
)
from services.enrichment.run import (
    PAID,
    RunStatus,
    Step,
    StepStatus,
    begin,
    decide,
    first_steps,
    lose,
    park,
    settle,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEADLINE = NOW + timedelta(minutes=2)
PUBLIC = Subject("Ada Lovelace", "Analytical Engines", is_public_company=True, company_cik=1)
FOUND = Answer(WebFindings((), Provenance(SourceName.EXA, "u", "", NOW)), cost_micros=5)
NOTHING = Answer(None)


def after(steps: dict[SourceName, Step], **statuses: StepStatus) -> dict[SourceName, Step]:
    """Return the steps with some of them in another status."""
    changed = {SourceName(name): status for name, status in statuses.items()}
    return {s: replace(step, status=changed.get(s, step.status)) for s, step in steps.items()}


def test_the_three_research_sources_are_asked_side_by_side() -> None:
    decision = decide(first_steps(PUBLIC, NOW), DEADLINE, NOW)
    assert set(decision.call) == {SourceName.CONTACTOUT, SourceName.EXA, SourceName.SEC}


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (replace(PUBLIC, is_public_company=False), "the company is not public"),
        (replace(PUBLIC, company_cik=None), "no company_cik was given"),
    ],
)
def test_the_sec_is_skipped_with_a_reason(subject: Subject, reason: str) -> None:
    step = first_steps(subject, NOW)[SourceName.SEC]
    assert (step.status, step.reason) == (StepStatus.SKIPPED, reason)


def test_claude_is_asked_when_the_others_have_ended_and_one_found_something() -> None:
    steps = after(
        first_steps(PUBLIC, NOW),
        contactout=StepStatus.FAILED,
        exa=StepStatus.COMPLETE,
        sec=StepStatus.NOT_FOUND,
    )
    assert decide(steps, DEADLINE, NOW).call == (SourceName.CLAUDE,)


def test_claude_waits_for_the_last_of_the_others() -> None:
    steps = after(
        first_steps(PUBLIC, NOW),
        contactout=StepStatus.COMPLETE,
        exa=StepStatus.IN_PROGRESS,
        sec=StepStatus.COMPLETE,
    )
    assert decide(steps, DEADLINE, NOW).call == ()


def test_without_findings_there_is_nothing_to_summarise() -> None:
    steps = after(
        first_steps(PUBLIC, NOW),
        contactout=StepStatus.NOT_FOUND,
        exa=StepStatus.FAILED,
        sec=StepStatus.NOT_FOUND,
    )
    (closed,) = decide(steps, DEADLINE, NOW).close
    assert (closed.source, closed.status) == (SourceName.CLAUDE, StepStatus.SKIPPED)


def test_a_run_with_one_answer_completes_and_names_what_is_missing() -> None:
    steps = after(
        first_steps(PUBLIC, NOW),
        contactout=StepStatus.FAILED,
        exa=StepStatus.COMPLETE,
        sec=StepStatus.SKIPPED,
        claude=StepStatus.COMPLETE,
    )
    finish = decide(steps, DEADLINE, NOW).finish
    assert finish
    assert (finish.status, finish.missing) == (RunStatus.COMPLETE, (SourceName.CONTACTOUT,))


def test_a_run_without_an_answer_fails() -> None:
    steps = after(
        first_steps(PUBLIC, NOW),
        contactout=StepStatus.FAILED,
        exa=StepStatus.NOT_FOUND,
        sec=StepStatus.FAILED,
        claude=StepStatus.SKIPPED,
    )
    finish = decide(steps, DEADLINE, NOW).finish
    assert finish
    assert finish.status is RunStatus.FAILED


def test_the_deadline_ends_every_open_step() -> None:
    closed = decide(first_steps(PUBLIC, NOW), DEADLINE, DEADLINE).close
    assert {step.status for step in closed} == {StepStatus.FAILED}
    assert len(closed) == 4


def test_an_answer_completes_a_step_and_counts_its_cost() -> None:
    step = settle(begin(Step(SourceName.EXA), NOW), FOUND, DEADLINE, NOW, 0.5)
    assert (step.status, step.cost_micros) == (StepStatus.COMPLETE, 5)


def test_knowing_nothing_is_an_answer() -> None:
    step = settle(begin(Step(SourceName.EXA), NOW), NOTHING, DEADLINE, NOW, 0.5)
    assert step.status is StepStatus.NOT_FOUND


def test_a_transient_error_is_tried_again_later() -> None:
    error = SourceError(ErrorClass.TRANSIENT, "Exa answered 500")
    step = settle(begin(Step(SourceName.EXA), NOW), error, DEADLINE, NOW, 0.5)
    assert step.status is StepStatus.PENDING
    assert step.next_attempt_at
    assert step.next_attempt_at > NOW


def test_a_throttled_call_waits_as_long_as_the_source_says() -> None:
    error = SourceError(ErrorClass.THROTTLED, "Exa answered 429", retry_after=17)
    step = settle(begin(Step(SourceName.EXA), NOW), error, DEADLINE, NOW, 0.5)
    assert step.next_attempt_at == NOW + timedelta(seconds=17)


def test_a_wait_beyond_the_deadline_fails_at_once() -> None:
    error = SourceError(ErrorClass.THROTTLED, "SEC answered 403", retry_after=600)
    step = settle(begin(Step(SourceName.SEC), NOW), error, DEADLINE, NOW, 0.5)
    assert (step.status, step.error_class) == (StepStatus.FAILED, "throttled")


@pytest.mark.parametrize(
    ("error_class", "calls"),
    [
        (ErrorClass.TRANSIENT, 4),
        (ErrorClass.INVALID_ANSWER, 2),
        (ErrorClass.AUTH, 1),
        (ErrorClass.QUOTA, 1),
        (ErrorClass.REFUSED_REQUEST, 1),
    ],
)
def test_each_class_of_error_has_its_number_of_calls(error_class: ErrorClass, calls: int) -> None:
    step = Step(SourceName.EXA)
    while not step.ended:
        step = settle(begin(step, NOW), SourceError(error_class, "no"), DEADLINE, NOW, 0)
    assert (step.status, step.attempts) == (StepStatus.FAILED, calls)


def test_an_open_breaker_spends_no_attempt() -> None:
    step = park(Step(SourceName.EXA), NOW + timedelta(seconds=20), "failing")
    assert (step.status, step.attempts) == (StepStatus.CIRCUIT_OPEN, 0)


@pytest.mark.parametrize("source", sorted(PAID))
def test_a_lost_reply_of_a_paid_source_is_not_bought_again(source: SourceName) -> None:
    step = lose(begin(Step(source), NOW), ask_paid_again=False, now=NOW)
    assert (step.status, step.uncertain_attempts) == (StepStatus.FAILED, 1)


def test_a_lost_reply_of_a_paid_source_is_bought_once_more_where_that_is_allowed() -> None:
    step = lose(begin(Step(SourceName.EXA), NOW), ask_paid_again=True, now=NOW)
    assert step.status is StepStatus.PENDING
    again = lose(begin(step, NOW), ask_paid_again=True, now=NOW)
    assert again.status is StepStatus.FAILED


def test_a_lost_reply_of_the_sec_is_asked_again() -> None:
    step = lose(begin(Step(SourceName.SEC), NOW), ask_paid_again=False, now=NOW)
    assert step.status is StepStatus.PENDING


EVENTS = st.one_of(
    st.just(FOUND),
    st.just(NOTHING),
    st.just("lost"),
    st.just("circuit"),
    st.builds(
        SourceError,
        st.sampled_from(ErrorClass),
        st.just("no"),
        retry_after=st.none() | st.floats(0, 1000),
    ),
)


@given(st.data(), st.booleans(), st.booleans())
def test_a_run_ends_whatever_happens_and_never_calls_a_finished_step(
    data: st.DataObject, public: bool, ask_paid_again: bool
) -> None:
    steps = first_steps(replace(PUBLIC, is_public_company=public), NOW)
    now, turns = NOW, 0
    while not (decision := decide(steps, DEADLINE, now)).finish:
        turns += 1
        assert turns < 200
        for step in decision.close:
            assert not steps[step.source].ended
            steps[step.source] = step
        for source in decision.call:
            assert not steps[source].ended
            steps[source] = _happen(data.draw(EVENTS), steps[source], now, ask_paid_again)
        if not decision.call and not decision.close:
            assert decision.look_again_at
            now = max(now, decision.look_again_at)
    assert now <= DEADLINE
    assert all(step.ended for step in steps.values())


def _happen(event: object, step: Step, now: datetime, ask_paid_again: bool) -> Step:
    if event == "circuit":
        return park(step, now + timedelta(seconds=20), "failing")
    called = begin(step, now)
    if isinstance(event, Answer | SourceError):
        return settle(called, event, DEADLINE, now, 0.5)
    return lose(called, ask_paid_again=ask_paid_again, now=now)
