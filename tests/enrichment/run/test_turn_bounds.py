"""A turn at its bounds: the last moment for something, and the first at which it is too late."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.enrichment.policy.budget import Permit
from services.enrichment.run.state import (
    Again,
    Denial,
    Findings,
    Happening,
    Lost,
    Returned,
    RunState,
    RunStatus,
    Step,
    StepStatus,
    Turn,
)
from services.enrichment.run.turn import take_turn
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Finding
from tests.enrichment.engine import finding

CONTACTOUT, EXA, SEC, CLAUDE = SourceName
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TICK, SECOND, HOUR = timedelta(microseconds=1), timedelta(seconds=1), timedelta(hours=1)
JOIN, DEADLINE, LATE = NOW + 90 * SECOND, NOW + 120 * SECOND, NOW + 3 * HOUR
ENDED = {CONTACTOUT: StepStatus.COMPLETE, EXA: StepStatus.FAILED, SEC: StepStatus.SKIPPED}
FAILED = SourceError(ErrorClass.TRANSIENT, "no")
NOT_ADMITTED = None


@dataclass
class Rules:
    """Rules that allow everything, with the wait for an admission that a test gives, or none."""

    ask_paid_again: bool = False
    denials: dict[SourceName, Denial] = field(default_factory=dict)
    waited: float | None = 0.0
    known: dict[SourceName, Answer] = field(default_factory=dict)
    checked: list[Answer] = field(default_factory=list)

    def denial(self, step: Step) -> Denial | None:
        return self.denials.get(step.source)

    def admit(self, source: SourceName) -> float | None:
        return self.waited

    def reserve(self, source: SourceName) -> Permit:
        return Permit(source, 7)

    def settle(self, source: SourceName, cost_micros: int) -> None:
        pass

    def refuses(self, answer: Answer) -> Denial | None:
        self.checked.append(answer)
        return None

    def recall(self, source: SourceName, brought: Findings) -> Answer | None:
        return self.known.get(source)

    def fallback(self, brought: Findings) -> Finding:
        return finding(CLAUDE)


def a_run(statuses: dict[SourceName, StepStatus], *steps: Step, **values: Any) -> RunState:
    """Return a run whose sources are in these statuses, those not named skipped; then its steps."""
    made = {s: Step(s, statuses.get(s, StepStatus.SKIPPED)) for s in SourceName}
    made |= {step.source: step for step in steps}
    return replace(RunState(RunStatus.IN_PROGRESS, made, JOIN, DEADLINE, LATE), **values)


def turn(
    run: RunState,
    *happened: Happening,
    now: datetime = NOW,
    rules: Rules | None = None,
    jitter: float = 0.5,
) -> Turn:
    return take_turn(run, happened, rules or Rules(), now, lambda: jitter)


def asked(source: SourceName, **values: Any) -> Step:
    """Return a step whose call is out."""
    step = Step(source, StepStatus.IN_PROGRESS, attempts=1, started_at=NOW, ready_at=NOW)
    return replace(step, **values)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0)])
def test_each_pause_is_twice_the_last_times_the_jitter(failures: int, seconds: float) -> None:
    step = turn(a_run({}, asked(EXA, failures=failures)), Returned(EXA, FAILED)).steps[EXA]
    assert step.next_attempt_at == NOW + seconds * SECOND
    assert step.ready_at == step.next_attempt_at
    assert step.failures == failures + 1


def test_the_longest_pause_of_a_throttled_source_is_sixteen_seconds() -> None:
    throttled = SourceError(ErrorClass.THROTTLED, "slow down")
    step = turn(a_run({}, asked(EXA, failures=4)), Returned(EXA, throttled), jitter=1).steps[EXA]
    assert step.next_attempt_at == NOW + 16 * SECOND


def test_a_failed_step_tells_the_errors_text_and_class() -> None:
    step = turn(a_run({}, asked(EXA)), Returned(EXA, FAILED)).steps[EXA]
    assert (step.status, step.reason, step.error_class) == (StepStatus.PENDING, "no", "transient")
    broken = Returned(EXA, SourceError(ErrorClass.AUTH, "bad key"))
    last = turn(a_run({}, asked(EXA)), broken).steps[EXA]
    assert (last.status, last.reason, last.error_class) == (StepStatus.FAILED, "bad key", "auth")


def test_a_throttled_source_that_names_no_time_is_tried_again_and_not_parked() -> None:
    throttled = SourceError(ErrorClass.THROTTLED, "slow down")
    assert turn(a_run({}, asked(EXA)), Returned(EXA, throttled)).steps[EXA].status is (
        StepStatus.PENDING
    )


@pytest.mark.parametrize(("ahead", "status"), [(TICK, StepStatus.PARKED), (0 * TICK, "failed")])
def test_a_step_is_not_parked_beyond_the_time_for_late_answers(
    ahead: timedelta, status: str
) -> None:
    wait = (LATE - ahead - NOW).total_seconds()
    throttled = SourceError(ErrorClass.THROTTLED, "slow down", retry_after=wait)
    run = a_run({}, asked(EXA, started_at=LATE - HOUR + SECOND))
    assert turn(run, Returned(EXA, throttled)).steps[EXA].status == status


@pytest.mark.parametrize(("ahead", "status"), [(TICK, StepStatus.PARKED), (0 * TICK, "failed")])
def test_a_step_is_not_tried_for_longer_than_an_hour(ahead: timedelta, status: str) -> None:
    wait = (HOUR - ahead).total_seconds()
    throttled = SourceError(ErrorClass.THROTTLED, "slow down", retry_after=wait)
    assert turn(a_run({}, asked(EXA)), Returned(EXA, throttled)).steps[EXA].status == status


def test_a_plain_summary_is_checked_before_it_stands_in_for_the_models() -> None:
    invalid = SourceError(ErrorClass.INVALID_ANSWER, "no")
    rules = Rules()
    made = turn(a_run({}, asked(CLAUDE, failures=1)), Returned(CLAUDE, invalid), rules=rules)
    assert made.steps[CLAUDE].status is StepStatus.COMPLETE
    assert rules.checked == [Answer(finding(CLAUDE))]


# -- lost replies ----------------------------------------------------------------------------------


def test_a_free_source_is_asked_again_until_the_time_for_late_answers_is_over() -> None:
    run = a_run({}, asked(SEC))
    again = turn(run, Lost(SEC), now=LATE - TICK)
    assert [each.source for each in again.begun] == [SEC]
    over = turn(run, Lost(SEC), now=LATE).steps[SEC]
    assert over.status is StepStatus.FAILED
    assert over.reason == ("the reply was lost in a crash; not asked again, so as not to pay twice")


def test_a_lost_call_ends_as_uncertain_with_its_number_and_class() -> None:
    made = turn(a_run({}, asked(EXA, attempts=3, cost_micros=5)), Lost(EXA))
    (attempt,) = made.ended_attempts
    assert (attempt.source, attempt.attempt, attempt.status) == (EXA, 3, "uncertain")
    step = made.steps[EXA]
    assert (step.error_class, step.cost_micros) == ("uncertain", SOURCES[EXA].max_cost_micros + 5)


def test_a_reply_that_is_lost_a_second_time_is_not_bought_a_third_time() -> None:
    run = a_run({}, asked(EXA, uncertain_attempts=1))
    made = turn(run, Lost(EXA), rules=Rules(ask_paid_again=True))
    assert made.steps[EXA].uncertain_attempts == 2
    assert made.steps[EXA].status is StepStatus.FAILED


def test_a_reply_that_is_lost_once_is_bought_again_and_says_so() -> None:
    denied = Rules(ask_paid_again=True, denials={EXA: Denial(StepStatus.PARKED, "x", JOIN)})
    step = turn(a_run({}, asked(EXA)), Lost(EXA), rules=denied).steps[EXA]
    assert step.uncertain_attempts == 1
    assert step.parked_at == NOW


def test_a_step_whose_reply_was_lost_waits_for_its_admission_from_then_on() -> None:
    waits = Rules(waited=NOT_ADMITTED)
    step = turn(a_run({}, asked(SEC)), Lost(SEC), now=NOW + SECOND, rules=waits).steps[SEC]
    assert step.status is StepStatus.PENDING
    assert step.reason == "the reply was lost in a crash; asked again"
    assert step.ready_at == NOW + SECOND


# -- a cancelled run -------------------------------------------------------------------------------


def test_a_cancelled_run_breaks_off_each_free_call_and_lets_paid_ones_come_back() -> None:
    run = a_run({}, asked(SEC), asked(EXA), cancel_requested=True)
    made = turn(run)
    assert made.steps[EXA] == run.steps[EXA]
    broken = made.steps[SEC]
    assert (broken.status, broken.reason) == (StepStatus.SKIPPED, "the run was cancelled")
    assert broken.uncertain_attempts == 1
    (attempt,) = made.ended_attempts
    assert (attempt.source, attempt.status) == (SEC, "uncertain")
    assert isinstance(attempt.outcome, SourceError)
    assert attempt.outcome.message == "the call was broken off"


def test_a_cancelled_run_that_has_ended_breaks_off_nothing() -> None:
    run = a_run({}, asked(SEC), cancel_requested=True, status=RunStatus.CANCELLED)
    assert turn(run).steps[SEC] == run.steps[SEC]


def test_a_run_that_is_not_cancelled_breaks_off_nothing() -> None:
    run = a_run({}, asked(SEC))
    assert turn(run).steps[SEC] == run.steps[SEC]


def test_a_cancelled_run_leaves_what_has_ended_as_it_was() -> None:
    run = a_run({EXA: StepStatus.COMPLETE}, asked(CONTACTOUT), cancel_requested=True)
    assert turn(run).steps[EXA] == run.steps[EXA]


# -- when a run and its summary go on --------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "ends"), [(TICK, False), (0 * TICK, True)])
def test_a_run_ends_at_its_deadline_and_not_before(ahead: timedelta, ends: bool) -> None:
    assert bool(turn(a_run({}, asked(EXA)), now=DEADLINE - ahead).finish) is ends


@pytest.mark.parametrize(("ahead", "leaves"), [(TICK, False), (0 * TICK, True)])
def test_a_summary_does_not_wait_for_a_source_beyond_the_time_for_research(
    ahead: timedelta, leaves: bool
) -> None:
    waiting = {CONTACTOUT: StepStatus.COMPLETE, CLAUDE: StepStatus.PENDING}
    made = turn(a_run(waiting, asked(EXA)), now=JOIN - ahead)
    assert [each.source for each in made.begun] == ([CLAUDE] if leaves else [])


@pytest.mark.parametrize(("ahead", "status"), [(TICK, StepStatus.PARKED), (0 * TICK, "failed")])
def test_a_step_waits_until_the_time_for_late_answers_is_over(
    ahead: timedelta, status: str
) -> None:
    parked = Step(EXA, StepStatus.PARKED, reason="busy", next_attempt_at=LATE + HOUR)
    run = a_run({}, parked, status=RunStatus.FAILED)
    assert turn(run, now=LATE - ahead).steps[EXA].status == status


@pytest.mark.parametrize(
    ("reason", "error_class", "told", "kept"),
    [
        ("", "", "the run's deadline passed", "deadline"),
        ("busy", "throttled", "the run's deadline passed; busy", "throttled"),
    ],
)
def test_a_step_that_is_late_says_what_it_waited_for(
    reason: str, error_class: str, told: str, kept: str
) -> None:
    step = Step(
        EXA, StepStatus.PARKED, reason=reason, error_class=error_class, next_attempt_at=LATE + HOUR
    )
    missed = turn(a_run({}, step, status=RunStatus.FAILED), now=LATE).steps[EXA]
    assert (missed.status, missed.reason, missed.error_class) == (StepStatus.FAILED, told, kept)
    assert missed.next_attempt_at is None


@pytest.mark.parametrize(("ahead", "leaves"), [(-TICK, False), (0 * TICK, True)])
def test_a_step_is_called_when_it_is_due_and_not_before(ahead: timedelta, leaves: bool) -> None:
    due = Step(EXA, StepStatus.PENDING, next_attempt_at=NOW - ahead)
    assert bool(turn(a_run({}, due)).begun) is leaves


def made_anew(ended_after: timedelta, now: datetime, **values: Any) -> bool:
    """Whether a summary is made again where a source answered after its call had left."""
    answered = Step(EXA, StepStatus.COMPLETE, ended_at=NOW + ended_after)
    claude = Step(CLAUDE, StepStatus.COMPLETE, ready_at=NOW, ended_at=NOW)
    return bool(turn(a_run({}, answered, claude, **values), now=now).begun)


def test_a_summary_is_made_anew_where_a_source_answered_after_its_call_left() -> None:
    assert made_anew(TICK, NOW + SECOND)
    assert not made_anew(0 * TICK, NOW + SECOND)


def test_a_summary_is_made_anew_until_the_time_for_late_answers_is_over() -> None:
    assert made_anew(TICK, LATE - TICK)
    assert not made_anew(TICK, LATE)


def test_a_summary_of_a_cancelled_run_is_not_made_anew() -> None:
    assert not made_anew(TICK, NOW + SECOND, cancel_requested=True)


def test_a_summary_that_is_made_anew_begins_without_failures_and_says_why() -> None:
    answered = Step(EXA, StepStatus.COMPLETE, ended_at=NOW + TICK)
    failed = Step(
        CLAUDE, StepStatus.FAILED, failures=2, error_class="auth", ready_at=NOW, ended_at=NOW
    )
    waits = Rules(waited=NOT_ADMITTED)
    step = turn(a_run({}, answered, failed), now=NOW + SECOND, rules=waits).steps[CLAUDE]
    assert step.reason == "made anew: a source answered late"
    assert (step.failures, step.error_class, step.ended_at) == (0, "", None)
    assert step.ready_at == NOW + SECOND


def test_once_a_run_has_ended_its_summary_waits_for_answers_that_are_on_their_way() -> None:
    waiting = {CONTACTOUT: StepStatus.COMPLETE, CLAUDE: StepStatus.PENDING}
    run = a_run(waiting, asked(EXA), status=RunStatus.COMPLETE)
    assert turn(run, now=DEADLINE).begun == []
    assert turn(replace(run, status=RunStatus.IN_PROGRESS), now=DEADLINE).begun == []
    parked = Step(EXA, StepStatus.PARKED, next_attempt_at=LATE)
    run = a_run(waiting, parked, status=RunStatus.COMPLETE)
    assert [each.source for each in turn(run, now=DEADLINE).begun] == [CLAUDE]


NEXT = {CONTACTOUT: StepStatus.COMPLETE, EXA: StepStatus.PENDING, CLAUDE: StepStatus.PENDING}


def test_where_the_last_call_is_denied_the_summary_is_made_in_the_same_turn() -> None:
    denied = Rules(denials={EXA: Denial(StepStatus.BUDGET_DENIED, "spent")})
    assert [each.source for each in turn(a_run(NEXT), rules=denied).begun] == [CLAUDE]


def test_where_the_last_answer_is_taken_over_the_summary_is_made_in_the_same_turn() -> None:
    known = Rules(known={EXA: Answer(None)})
    assert [each.source for each in turn(a_run(NEXT), rules=known).begun] == [CLAUDE]


def test_an_answer_taken_over_late_is_summarised_while_another_source_is_asked() -> None:
    known = Rules(known={CONTACTOUT: Answer(finding(CONTACTOUT))})
    run = a_run(NEXT | {CONTACTOUT: StepStatus.PENDING})
    assert [each.source for each in turn(run, now=JOIN, rules=known).begun] == [EXA, CLAUDE]


def test_the_next_lookup_begins_without_failures() -> None:
    ways = {CONTACTOUT: ("email", "name_and_company")}
    step = asked(CONTACTOUT, lookup="email", failures=2, reason="busy")
    waits = Rules(waited=NOT_ADMITTED)
    returned, later = Returned(CONTACTOUT, Answer(None)), NOW + SECOND
    made = turn(a_run({}, step, lookups=ways), returned, now=later, rules=waits)
    after = made.steps[CONTACTOUT]
    assert (after.lookup, after.failures, after.ready_at) == ("name_and_company", 0, later)
    assert after.reason == ""


def test_a_lookup_that_the_run_does_not_have_is_followed_by_none() -> None:
    step = asked(CONTACTOUT, lookup="older")
    run = a_run({}, step, lookups={CONTACTOUT: ("email", "name_and_company")})
    assert turn(run, Returned(CONTACTOUT, Answer(None))).steps[CONTACTOUT].ended_at == NOW


def test_an_answer_that_is_taken_over_has_the_time_at_which_it_was() -> None:
    step = turn(a_run({EXA: StepStatus.PENDING}), rules=Rules(known={EXA: Answer(None)})).steps[EXA]
    assert (step.reused, step.ready_at, step.ended_at) == (True, NOW, NOW)


# -- when it is looked at again --------------------------------------------------------------------


def test_a_run_is_looked_at_again_at_the_next_of_its_times() -> None:
    run = a_run({}, asked(EXA))
    assert turn(run).look_again_at == JOIN
    assert turn(run, now=JOIN).look_again_at == DEADLINE
    assert turn(run, now=DEADLINE).look_again_at == LATE
    assert turn(run, now=LATE).look_again_at is None


def test_a_run_is_looked_at_again_when_a_step_is_due() -> None:
    due = Step(EXA, StepStatus.PENDING, next_attempt_at=NOW + SECOND)
    assert turn(a_run({}, due)).look_again_at == NOW + SECOND


def test_a_run_without_open_steps_is_not_looked_at_again() -> None:
    assert turn(a_run(ENDED)).look_again_at is None


# -- a call that leaves ----------------------------------------------------------------------------


def test_a_call_tells_how_long_it_waited_and_for_what() -> None:
    step = Step(
        EXA,
        StepStatus.PARKED,
        reason="busy",
        attempts=1,
        ready_at=NOW - 9 * SECOND,
        parked_at=NOW - 10 * SECOND,
        next_attempt_at=NOW - 4 * SECOND,
    )
    made = turn(a_run({}, step), rules=Rules(waited=1.5))
    (call,) = made.begun
    assert (call.source, call.attempt, call.permit) == (EXA, 2, Permit(EXA, 7))
    assert call.lookup == ""
    assert (call.queue_wait, call.breaker_wait, call.limiter_wait) == (2.5, 6.0, 1.5)
    left = made.steps[EXA]
    assert (left.status, left.attempts, left.reason) == (StepStatus.IN_PROGRESS, 2, "")
    assert (left.started_at, left.ready_at) == (NOW, NOW)
    assert (left.next_attempt_at, left.parked_at) == (None, None)


def test_a_step_that_is_called_tells_its_lookup_and_takes_nothing_over() -> None:
    lookups = {CONTACTOUT: ("email", "name_and_company")}
    step = turn(a_run({}, Step(CONTACTOUT, reused=True), lookups=lookups)).steps[CONTACTOUT]
    assert (step.lookup, step.reused) == ("email", False)


def test_a_call_that_never_waited_tells_no_wait() -> None:
    (call,) = turn(a_run({}, Step(EXA)), rules=Rules(waited=1.5)).begun
    assert (call.queue_wait, call.breaker_wait, call.limiter_wait) == (0.0, 0.0, 1.5)


def test_a_parked_source_that_is_asked_early_waited_until_now() -> None:
    step = Step(EXA, StepStatus.PARKED, parked_at=NOW - 10 * SECOND, ready_at=NOW - 12 * SECOND)
    (call,) = turn(a_run({}, step)).begun
    assert (call.breaker_wait, call.queue_wait) == (10.0, 2.0)


def test_a_parked_source_that_is_wanted_at_once_waits_for_its_admission_only() -> None:
    step = Step(EXA, StepStatus.PARKED, reason="busy", parked_at=NOW, next_attempt_at=JOIN)
    hurried = turn(a_run({}, step), Again(EXA), rules=Rules(waited=NOT_ADMITTED)).steps[EXA]
    assert (hurried.status, hurried.reason, hurried.next_attempt_at) == (
        StepStatus.PENDING,
        "",
        None,
    )


def test_a_source_that_waits_for_its_admission_already_is_not_hurried() -> None:
    step = Step(EXA, StepStatus.PENDING, reason="asked again", ready_at=NOW - SECOND)
    made = turn(a_run({}, step), Again(EXA), rules=Rules(waited=NOT_ADMITTED))
    assert made.steps[EXA] == step


def test_a_call_keeps_when_its_step_first_began() -> None:
    step = Step(EXA, attempts=1, started_at=NOW - SECOND)
    assert turn(a_run({}, step)).steps[EXA].started_at == NOW - SECOND


def test_a_denied_call_waits_a_tenth_of_a_second_at_least() -> None:
    soon, later = NOW + timedelta(milliseconds=1), NOW + SECOND
    for until, at in ((soon, NOW + timedelta(milliseconds=100)), (later, later)):
        rules = Rules(denials={EXA: Denial(StepStatus.PARKED, "busy", until)})
        step = turn(a_run({}, Step(EXA)), rules=rules).steps[EXA]
        assert (step.status, step.reason, step.next_attempt_at) == (StepStatus.PARKED, "busy", at)
        assert step.parked_at == NOW


def test_a_source_that_stays_parked_keeps_since_when() -> None:
    rules = Rules(denials={EXA: Denial(StepStatus.PARKED, "busy", JOIN)})
    parked = Step(EXA, StepStatus.PARKED, parked_at=NOW - SECOND)
    assert turn(a_run({}, parked), rules=rules).steps[EXA].parked_at == NOW - SECOND


# -- an end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (Answer(finding(EXA)), StepStatus.COMPLETE, ""),
        (Answer(None), StepStatus.NOT_FOUND, "the source knows nothing of this person"),
    ],
)
def test_an_answer_ends_a_step_and_clears_what_went_before(
    answer: Answer, status: StepStatus, reason: str
) -> None:
    made = turn(
        a_run({}, asked(EXA, error_class="transient", parked_at=NOW)), Returned(EXA, answer)
    )
    step = made.steps[EXA]
    assert (step.status, step.reason, step.error_class) == (status, reason, "")
    assert (step.ended_at, step.next_attempt_at, step.parked_at) == (NOW, None, None)
    (attempt,) = made.ended_attempts
    assert (attempt.status, attempt.outcome) == (status.value, answer)


def test_a_failed_call_ends_as_failed() -> None:
    (attempt,) = turn(a_run({}, asked(EXA)), Returned(EXA, FAILED)).ended_attempts
    assert (attempt.status, attempt.attempt, attempt.outcome) == ("failed", 1, FAILED)


def test_without_findings_the_summary_is_skipped_and_says_why() -> None:
    run = a_run({EXA: StepStatus.NOT_FOUND, CLAUDE: StepStatus.PENDING})
    claude = turn(run).steps[CLAUDE]
    assert (claude.status, claude.reason) == (StepStatus.SKIPPED, "there is nothing to summarise")


def test_a_source_that_was_not_wanted_is_not_missing() -> None:
    made = turn(a_run({CONTACTOUT: StepStatus.COMPLETE, EXA: StepStatus.NOT_FOUND}))
    assert made.finish
    assert (made.finish.status, made.finish.missing) == (RunStatus.COMPLETE, (EXA,))
