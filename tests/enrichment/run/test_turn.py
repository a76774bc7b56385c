"""The run's state machine: what is called when, what an outcome means, and that it always ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.enrichment.policy.budget import Permit
from services.enrichment.run.state import (
    CLAUDE,
    RUN_ENDED,
    Again,
    Denial,
    Findings,
    Happening,
    Lost,
    Parked,
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

CONTACTOUT, EXA, SEC = SourceName.CONTACTOUT, SourceName.EXA, SourceName.SEC
# The runs of these tests have just these steps, whatever else is in the catalogue.
FOUR = (CONTACTOUT, EXA, SEC, CLAUDE)
PAID = tuple(source for source in FOUR if SOURCES[source].is_paid)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
JOIN, DEADLINE = NOW + timedelta(seconds=90), NOW + timedelta(seconds=120)
LATE = DEADLINE + timedelta(seconds=900)
LOOKUPS = {CONTACTOUT: ("linkedin_url", "name_and_company")}
NOTHING = Answer(None)


def found(source: SourceName, cost: int = 5) -> Answer:
    """Return an answer of a source."""
    return Answer(finding(source), cost)


def error(error_class: ErrorClass, **values: Any) -> SourceError:
    """Return a failed call."""
    return SourceError(error_class, "no", **values)


@dataclass
class Open:
    """Rules that allow everything, unless told otherwise."""

    ask_paid_again: bool = False
    denials: dict[SourceName, Denial] = field(default_factory=dict)
    unready: set[SourceName] = field(default_factory=set)
    refusal: Denial | None = None
    known: dict[SourceName, Answer] = field(default_factory=dict)
    let_go: list[tuple[SourceName, int]] = field(default_factory=list)

    def denial(self, step: Step) -> Denial | None:
        return self.denials.get(step.source)

    def admit(self, source: SourceName) -> float | None:
        return None if source in self.unready else 0.0

    def reserve(self, source: SourceName) -> Permit:
        return Permit(source, SOURCES[source].max_cost_micros)

    def settle(self, source: SourceName, cost_micros: int) -> None:
        self.let_go.append((source, cost_micros))

    def refuses(self, answer: Answer) -> Denial | None:
        return self.refusal

    def recall(self, source: SourceName, brought: Findings) -> Answer | None:
        return self.known.get(source)

    def fallback(self, brought: Findings) -> Finding:
        return finding(CLAUDE)


def state(**statuses: StepStatus) -> RunState:
    """Return a run with some of its steps in another status than pending."""
    given = {SourceName(name): status for name, status in statuses.items()}
    steps = {s: Step(s, given.get(s, StepStatus.PENDING)) for s in FOUR}
    return RunState(RunStatus.PENDING, steps, JOIN, DEADLINE, LATE, LOOKUPS)


def turn(
    run: RunState, *happened: Happening, rules: Open | None = None, now: datetime = NOW
) -> Turn:
    """Take a turn."""
    return take_turn(run, happened, rules or Open(), now, lambda: 0.5)


def after(run: RunState, made: Turn) -> RunState:
    """Return the run after a turn."""
    status = made.finish.status if made.finish else run.status
    return replace(run, status=status, steps=made.steps)


def calling(*sources: SourceName, **statuses: StepStatus) -> RunState:
    """Return a run whose given sources are being asked, for the first time."""
    run = state(**statuses)
    asked = {
        s: replace(
            run.steps[s],
            status=StepStatus.IN_PROGRESS,
            attempts=1,
            started_at=NOW,
            ready_at=NOW,
            lookup=LOOKUPS.get(s, ("",))[0],
        )
        for s in sources
    }
    return replace(run, status=RunStatus.IN_PROGRESS, steps={**run.steps, **asked})


def begun(made: Turn) -> set[SourceName]:
    """Return the sources whose calls leave."""
    return {each.source for each in made.begun}


ENDED = {"contactout": StepStatus.COMPLETE, "exa": StepStatus.FAILED, "sec": StepStatus.SKIPPED}


def test_the_three_research_sources_are_asked_side_by_side() -> None:
    assert begun(turn(state())) == {CONTACTOUT, EXA, SEC}


def test_claude_is_asked_when_the_others_have_ended_and_one_found_something() -> None:
    assert begun(turn(state(**ENDED))) == {CLAUDE}


def test_claude_waits_for_the_last_of_the_others() -> None:
    run = calling(EXA, contactout=StepStatus.COMPLETE, sec=StepStatus.COMPLETE)
    assert begun(turn(run)) == set()


def test_claude_joins_what_is_there_when_the_time_for_research_is_over() -> None:
    run = calling(EXA, contactout=StepStatus.COMPLETE, sec=StepStatus.NOT_FOUND)
    assert begun(turn(run, now=JOIN)) == {CLAUDE}


def test_the_last_answer_and_the_call_to_claude_are_one_turn() -> None:
    run = calling(EXA, contactout=StepStatus.COMPLETE, sec=StepStatus.COMPLETE)
    assert begun(turn(run, Returned(EXA, found(EXA)))) == {CLAUDE}


def test_without_findings_there_is_nothing_to_summarise_and_the_run_fails() -> None:
    run = state(contactout=StepStatus.NOT_FOUND, exa=StepStatus.FAILED, sec=StepStatus.NOT_FOUND)
    made = turn(run)
    assert made.steps[CLAUDE].status is StepStatus.SKIPPED
    assert made.finish
    assert made.finish.status is RunStatus.FAILED


def test_a_run_with_one_answer_completes_and_names_what_is_missing() -> None:
    made = turn(state(**ENDED, claude=StepStatus.COMPLETE))
    assert made.finish
    assert (made.finish.status, made.finish.missing) == (RunStatus.COMPLETE, (EXA,))


def test_the_same_evidence_needs_no_new_summary() -> None:
    made = turn(state(**ENDED), rules=Open(known={CLAUDE: found(CLAUDE)}))
    assert (begun(made), made.steps[CLAUDE].status) == (set(), StepStatus.COMPLETE)
    assert made.steps[CLAUDE].reused
    assert made.finish


@pytest.mark.parametrize(
    ("answer", "status"), [(found(EXA), StepStatus.COMPLETE), (NOTHING, StepStatus.NOT_FOUND)]
)
def test_what_an_earlier_runs_call_brought_needs_no_call(
    answer: Answer, status: StepStatus
) -> None:
    made = turn(state(), rules=Open(known={EXA: answer}))
    assert EXA not in begun(made)
    assert (made.steps[EXA].status, made.steps[EXA].reused) == (status, True)


def test_an_answer_completes_a_step_and_counts_its_cost() -> None:
    made = turn(calling(EXA), Returned(EXA, found(EXA)))
    assert (made.steps[EXA].status, made.steps[EXA].cost_micros) == (StepStatus.COMPLETE, 5)
    assert made.findings[EXA] == finding(EXA)


def test_a_failed_call_counts_what_it_cost() -> None:
    failed = error(ErrorClass.INVALID_ANSWER, cost_micros=7)
    assert turn(calling(CLAUDE), Returned(CLAUDE, failed)).steps[CLAUDE].cost_micros == 7


def test_knowing_nothing_is_an_answer() -> None:
    made = turn(calling(EXA), Returned(EXA, NOTHING))
    assert made.steps[EXA].status is StepStatus.NOT_FOUND
    assert made.findings == {EXA: None}


def test_a_source_that_found_nothing_may_say_what_it_looked_through() -> None:
    made = turn(calling(SEC), Returned(SEC, Answer(None, note="no trades since 2025-11-24")))
    assert made.steps[SEC].reason == "no trades since 2025-11-24"


def test_the_next_lookup_follows_where_one_found_nobody() -> None:
    made = turn(calling(CONTACTOUT), Returned(CONTACTOUT, NOTHING))
    (call,) = [each for each in made.begun if each.source is CONTACTOUT]
    assert (call.lookup, call.attempt) == ("name_and_company", 2)


def test_what_a_call_did_not_cost_is_let_go_before_the_next_one_is_weighed() -> None:
    rules = Open()
    turn(calling(CONTACTOUT), Returned(CONTACTOUT, NOTHING), rules=rules)
    assert rules.let_go == [(CONTACTOUT, 0)]


def test_the_lookups_stop_at_the_first_that_finds_somebody() -> None:
    made = turn(calling(CONTACTOUT), Returned(CONTACTOUT, found(CONTACTOUT)))
    assert made.steps[CONTACTOUT].status is StepStatus.COMPLETE


def test_another_person_is_not_asked_for_again_but_looked_up_otherwise() -> None:
    stranger = Returned(CONTACTOUT, error(ErrorClass.WRONG_PERSON, cost_micros=9))
    run = calling(CONTACTOUT)
    made = turn(run, stranger)
    (call,) = [each for each in made.begun if each.source is CONTACTOUT]
    assert call.lookup == "name_and_company"
    last = turn(after(run, made), stranger).steps[CONTACTOUT]
    assert (last.status, last.error_class, last.cost_micros) == (
        StepStatus.FAILED,
        "wrong_person",
        18,
    )


def test_a_transient_error_is_tried_again_later() -> None:
    step = turn(calling(EXA), Returned(EXA, error(ErrorClass.TRANSIENT))).steps[EXA]
    assert step.status is StepStatus.PENDING
    assert step.next_attempt_at
    assert step.next_attempt_at > NOW


def test_a_throttled_call_waits_as_long_as_the_source_says() -> None:
    throttled = error(ErrorClass.THROTTLED, retry_after=17)
    step = turn(calling(EXA), Returned(EXA, throttled)).steps[EXA]
    assert (step.status, step.next_attempt_at) == (StepStatus.PARKED, NOW + timedelta(seconds=17))


def test_a_source_that_waits_is_asked_at_once_when_somebody_wants_it() -> None:
    run = calling(EXA)
    waiting = after(run, turn(run, Returned(EXA, error(ErrorClass.THROTTLED, retry_after=17))))
    assert EXA not in begun(turn(waiting))
    assert EXA in begun(turn(waiting, Again(EXA)))


@pytest.mark.parametrize("status", [StepStatus.COMPLETE, StepStatus.FAILED])
def test_a_source_that_has_ended_is_not_asked_again_in_its_run(status: StepStatus) -> None:
    assert EXA not in begun(turn(state(exa=status), Again(EXA)))


@pytest.mark.parametrize(
    ("error_class", "calls"),
    [
        (ErrorClass.TRANSIENT, 4),
        (ErrorClass.THROTTLED, 6),
        (ErrorClass.INVALID_ANSWER, 1),
        (ErrorClass.AUTH, 1),
        (ErrorClass.QUOTA, 1),
        (ErrorClass.REFUSED_REQUEST, 1),
    ],
)
def test_each_class_of_error_has_its_number_of_calls(error_class: ErrorClass, calls: int) -> None:
    run, now = calling(EXA), NOW
    while not run.steps[EXA].ended:
        made = turn(run, Returned(EXA, error(error_class)), now=now)
        run, now = after(run, made), now + timedelta(seconds=40)
        run = after(run, turn(run, now=now))
    assert (run.steps[EXA].status, run.steps[EXA].attempts) == (StepStatus.FAILED, calls)


def test_a_free_answer_of_the_wrong_form_is_asked_for_once_more() -> None:
    run = calling(SEC)
    again = after(run, turn(run, Returned(SEC, error(ErrorClass.INVALID_ANSWER))))
    assert SEC in begun(turn(again, now=NOW + timedelta(seconds=40)))


def test_a_paid_answer_that_cannot_be_read_is_never_bought_again() -> None:
    unreadable = Returned(EXA, error(ErrorClass.INVALID_ANSWER, uncertain=True))
    made = turn(calling(EXA), unreadable, rules=Open(ask_paid_again=True))
    assert made.steps[EXA].status is StepStatus.FAILED


def test_a_summary_that_fails_its_check_is_replaced_by_a_plain_one_and_not_bought_again() -> None:
    bad = Returned(CLAUDE, error(ErrorClass.INVALID_ANSWER, of_source=False))
    made = turn(calling(CLAUDE, **ENDED), bad)
    assert made.steps[CLAUDE].status is StepStatus.COMPLETE
    assert made.steps[CLAUDE].reason.startswith("a plain summary stands in")
    assert made.findings[CLAUDE] == finding(CLAUDE)


@pytest.mark.parametrize(
    "error_class", [ErrorClass.REFUSED_REQUEST, ErrorClass.QUOTA, ErrorClass.CONFIGURATION]
)
def test_what_the_model_cannot_give_is_replaced_by_a_plain_summary(error_class: ErrorClass) -> None:
    made = turn(calling(CLAUDE, **ENDED), Returned(CLAUDE, error(error_class)))
    step = made.steps[CLAUDE]
    assert (step.status, step.attempts) == (StepStatus.COMPLETE, 1)
    assert made.findings[CLAUDE] == finding(CLAUDE)
    assert made.finish
    assert made.finish.status is RunStatus.COMPLETE


def test_a_model_out_of_reach_is_replaced_by_nothing() -> None:
    run = calling(CLAUDE, **ENDED)
    failed = replace(run.steps[CLAUDE], failures=9)
    run = replace(run, steps={**run.steps, CLAUDE: failed})
    made = turn(run, Returned(CLAUDE, error(ErrorClass.TRANSIENT)))
    assert made.steps[CLAUDE].status is StepStatus.FAILED


def test_what_did_not_fit_is_asked_once_more_and_then_replaced() -> None:
    short = Returned(CLAUDE, error(ErrorClass.CUT_SHORT, of_source=False))
    run = calling(CLAUDE, **ENDED)
    again = after(run, turn(run, short))
    assert again.steps[CLAUDE].failures == 1
    again = after(again, turn(again, now=NOW + timedelta(seconds=40)))
    made = turn(again, short, now=NOW + timedelta(seconds=41))
    assert made.steps[CLAUDE].status is StepStatus.COMPLETE
    assert made.findings[CLAUDE] == finding(CLAUDE)


def test_a_summary_does_not_wait_for_a_source_that_waiting_does_not_mend() -> None:
    until = NOW + timedelta(seconds=20)
    lasting = Denial(StepStatus.CIRCUIT_OPEN, "no credit", until, is_lasting=True)
    run = state(**ENDED)
    made = turn(run, Parked(CLAUDE, lasting))
    step = made.steps[CLAUDE]
    assert (step.status, step.attempts) == (StepStatus.COMPLETE, 0)
    assert "no credit" in step.reason
    passing = turn(run, Parked(CLAUDE, replace(lasting, is_lasting=False)))
    assert passing.steps[CLAUDE].status is StepStatus.CIRCUIT_OPEN


def test_a_source_left_alone_spends_no_attempt() -> None:
    until = NOW + timedelta(seconds=20)
    held = Parked(EXA, Denial(StepStatus.CIRCUIT_OPEN, "failing", until))
    step = turn(state(), held).steps[EXA]
    assert (step.status, step.attempts) == (StepStatus.CIRCUIT_OPEN, 0)
    assert step.next_attempt_at == until


def test_the_wait_for_a_breaker_is_told_of_the_call_that_follows() -> None:
    until = NOW + timedelta(seconds=20)
    run = state()
    run = after(run, turn(run, Parked(EXA, Denial(StepStatus.CIRCUIT_OPEN, "failing", until))))
    later = turn(run, now=NOW + timedelta(seconds=21))
    (call,) = [each for each in later.begun if each.source is EXA]
    assert (call.breaker_wait, call.queue_wait) == (20.0, 1.0)


def test_a_call_without_admission_does_not_leave() -> None:
    made = turn(state(), rules=Open(unready={EXA}))
    assert (begun(made), made.wanted) == ({CONTACTOUT, SEC}, [EXA])
    assert made.steps[EXA].status is StepStatus.PENDING


@pytest.mark.parametrize(
    "status", [StepStatus.SUPPRESSED, StepStatus.BUDGET_DENIED, StepStatus.SKIPPED]
)
def test_a_call_that_is_denied_ends_its_step_with_the_reason(status: StepStatus) -> None:
    made = turn(state(), rules=Open(denials={EXA: Denial(status, "because")}))
    assert (made.steps[EXA].status, made.steps[EXA].reason) == (status, "because")
    assert EXA not in begun(made)


def test_what_is_brought_of_a_suppressed_person_is_dropped() -> None:
    rules = Open(refusal=Denial(StepStatus.SUPPRESSED, "on the list"))
    made = turn(calling(EXA), Returned(EXA, found(EXA)), rules=rules)
    assert made.steps[EXA].status is StepStatus.SUPPRESSED
    assert made.findings == {}
    assert made.steps[EXA].cost_micros == 5


@pytest.mark.parametrize("source", PAID)
def test_a_lost_reply_of_a_paid_source_is_not_bought_again(source: SourceName) -> None:
    step = turn(calling(source), Lost(source)).steps[source]
    assert (step.status, step.uncertain_attempts) == (StepStatus.FAILED, 1)
    assert step.cost_micros == SOURCES[source].max_cost_micros


@pytest.mark.parametrize("source", [CONTACTOUT, EXA])
def test_a_success_that_cannot_be_read_may_be_paid_for_and_has_its_class(
    source: SourceName,
) -> None:
    unreadable = error(ErrorClass.INVALID_ANSWER, uncertain=True)
    made = turn(calling(source), Returned(source, unreadable))
    step = made.steps[source]
    assert (step.status, step.error_class) == (StepStatus.FAILED, "invalid_answer")
    assert step.cost_micros == SOURCES[source].max_cost_micros
    assert (made.ended_attempts[0].status, made.ended_attempts[0].outcome) == (
        "uncertain",
        unreadable,
    )


def test_a_plain_summary_stands_in_for_a_text_that_cannot_be_read() -> None:
    unreadable = error(ErrorClass.INVALID_ANSWER, uncertain=True)
    made = turn(calling(CLAUDE), Returned(CLAUDE, unreadable))
    assert made.steps[CLAUDE].status is StepStatus.COMPLETE
    assert "not asked again" in made.steps[CLAUDE].reason


def test_no_plain_summary_stands_in_where_the_person_is_suppressed_by_now() -> None:
    unreadable = error(ErrorClass.INVALID_ANSWER, uncertain=True)
    rules = Open(refusal=Denial(StepStatus.SUPPRESSED, "on the list"))
    made = turn(calling(CLAUDE), Returned(CLAUDE, unreadable), rules=rules)
    assert (made.steps[CLAUDE].status, made.findings) == (StepStatus.SUPPRESSED, {})


def test_a_lost_reply_of_a_paid_source_is_bought_once_more_where_that_is_allowed() -> None:
    rules = Open(ask_paid_again=True)
    run = calling(EXA)
    again = turn(run, Lost(EXA), rules=rules)
    assert EXA in begun(again)
    once_more = turn(after(run, again), Lost(EXA), rules=rules)
    assert once_more.steps[EXA].status is StepStatus.FAILED


def test_a_lost_reply_of_a_free_source_is_asked_again() -> None:
    assert SEC in begun(turn(calling(SEC), Lost(SEC)))


def test_a_paid_call_without_a_whole_answer_is_uncertain_and_not_made_again() -> None:
    cut = error(ErrorClass.TRANSIENT, uncertain=True)
    made = turn(calling(EXA), Returned(EXA, cut))
    assert (made.steps[EXA].status, made.steps[EXA].uncertain_attempts) == (StepStatus.FAILED, 1)
    assert [each.status for each in made.ended_attempts] == ["uncertain"]


def test_a_free_call_without_a_whole_answer_is_made_again() -> None:
    cut = error(ErrorClass.TRANSIENT, uncertain=True)
    assert turn(calling(SEC), Returned(SEC, cut)).steps[SEC].status is StepStatus.PENDING


def test_the_deadline_ends_the_run_with_what_is_there() -> None:
    run = calling(EXA, contactout=StepStatus.COMPLETE, sec=StepStatus.SKIPPED)
    made = turn(run, rules=Open(unready={CLAUDE}), now=DEADLINE)
    assert made.finish
    assert (made.finish.status, made.finish.missing) == (RunStatus.COMPLETE, (EXA, CLAUDE))
    assert made.open


def test_a_late_answer_amends_the_prospect_and_the_summary_is_made_anew() -> None:
    run = calling(EXA, contactout=StepStatus.COMPLETE, sec=StepStatus.SKIPPED)
    claude = replace(run.steps[CLAUDE], status=StepStatus.COMPLETE, ready_at=JOIN, attempts=1)
    ended = replace(run, status=RunStatus.COMPLETE, steps={**run.steps, CLAUDE: claude})
    late = DEADLINE + timedelta(seconds=5)
    made = turn(ended, Returned(EXA, found(EXA)), now=late)
    assert made.amended == [EXA]
    assert begun(made) == {CLAUDE}
    anew = turn(after(ended, made), Returned(CLAUDE, found(CLAUDE)), now=late)
    assert (anew.amended, anew.open) == ([CLAUDE], False)


def test_an_answer_that_came_while_the_summary_was_made_has_it_made_anew() -> None:
    run = calling(EXA, CLAUDE, contactout=StepStatus.COMPLETE, sec=StepStatus.SKIPPED)
    soon = NOW + timedelta(seconds=1)
    run = after(run, turn(run, Returned(EXA, found(EXA)), now=soon))
    made = turn(run, Returned(CLAUDE, found(CLAUDE)), now=soon)
    assert (begun(made), made.finish) == ({CLAUDE}, None)


def test_a_step_that_is_late_for_too_long_fails() -> None:
    run = state(contactout=StepStatus.COMPLETE, exa=StepStatus.PARKED, sec=StepStatus.SKIPPED)
    made = turn(replace(run, status=RunStatus.COMPLETE), now=LATE)
    assert made.steps[EXA].status is StepStatus.FAILED
    assert made.steps[EXA].error_class == "deadline"


def test_not_found_by_one_lookup_is_not_unknown_where_a_cancel_left_others_untried() -> None:
    run = replace(calling(CONTACTOUT), cancel_requested=True)
    made = turn(run, Returned(CONTACTOUT, NOTHING))
    assert (made.steps[CONTACTOUT].status, made.begun) == (StepStatus.SKIPPED, [])


def test_a_cancelled_run_makes_no_summary_of_its_own() -> None:
    run = replace(calling(CLAUDE), cancel_requested=True)
    run = replace(run, steps={**run.steps, CLAUDE: replace(run.steps[CLAUDE], failures=1)})
    made = turn(run, Returned(CLAUDE, error(ErrorClass.INVALID_ANSWER)))
    assert (made.steps[CLAUDE].status, made.findings) == (StepStatus.FAILED, {})


def test_a_cancelled_run_ends_at_its_deadline_and_keeps_what_is_paid_for_later() -> None:
    run = replace(calling(EXA), cancel_requested=True)
    made = turn(run, now=DEADLINE)
    assert made.finish
    assert (made.finish.status, made.open) == (RunStatus.CANCELLED, True)
    late = turn(after(run, made), Returned(EXA, found(EXA)), now=DEADLINE)
    assert (late.findings, late.open) == ({EXA: finding(EXA)}, False)


def test_a_cancelled_run_waits_for_no_free_call() -> None:
    run = replace(calling(SEC), cancel_requested=True)
    made = turn(run)
    assert (made.steps[SEC].status, made.ended_attempts[0].status) == (
        StepStatus.SKIPPED,
        "uncertain",
    )
    assert made.finish
    late = turn(after(run, made), Returned(SEC, found(SEC)))
    assert (late.steps[SEC], late.ended_attempts) == (made.steps[SEC], [])


def test_a_cancel_after_the_end_breaks_off_no_call_whose_answer_a_newer_run_takes_over() -> None:
    run = replace(calling(SEC), status=RunStatus.COMPLETE, cancel_requested=True)
    made = turn(run)
    assert (made.steps[SEC].status, made.ended_attempts) == (StepStatus.IN_PROGRESS, [])
    late = turn(after(run, made), Returned(SEC, found(SEC)))
    assert (late.findings, late.begun) == ({SEC: finding(SEC)}, [])


def test_a_cancelled_run_calls_no_more_and_keeps_what_is_paid_for() -> None:
    run = replace(calling(EXA), cancel_requested=True)
    made = turn(run)
    assert (begun(made), made.finish) == (set(), None)
    assert made.steps[CONTACTOUT].reason == "the run was cancelled"
    ended = turn(after(run, made), Returned(EXA, found(EXA)))
    assert ended.findings == {EXA: finding(EXA)}
    assert ended.finish
    assert ended.finish.status is RunStatus.CANCELLED


OUTCOMES = st.one_of(
    st.just("found"),
    st.just(NOTHING),
    st.builds(
        SourceError,
        st.sampled_from(ErrorClass),
        st.just("no"),
        retry_after=st.none() | st.floats(0, 2000),
        cost_micros=st.integers(0, 1000),
    ),
)


class AnyRun(RuleBasedStateMachine):
    """Answers, losses, denials, missing room, cancels and waits, in any order."""

    @initialize(again=st.booleans(), late=st.integers(0, 900))
    def begin(self, again: bool, late: int) -> None:
        self.allowed = Open(ask_paid_again=again)
        self.run = replace(state(), late_until=DEADLINE + timedelta(seconds=late))
        self.now = NOW
        self.calls: dict[SourceName, list[int]] = {source: [] for source in FOUR}
        self.look_again_at: datetime | None = NOW
        self.finishes = 0
        self.take()

    def take(self, *happened: Happening) -> None:
        before = self.run.steps
        made = turn(self.run, *happened, rules=self.allowed, now=self.now)
        told = {each.source for each in happened if not isinstance(each, Again)}
        for call in made.begun:
            # A finished step is never called again; only the summary is ever made anew.
            ended = before[call.source].ended and call.source not in told
            assert not ended or call.source is CLAUDE
            assert call.permit.reserved_micros == SOURCES[call.source].max_cost_micros
            self.calls[call.source].append(call.attempt)
        self.finishes += made.finish is not None
        self.look_again_at = made.look_again_at
        self.run = after(self.run, made)

    def out(self) -> list[SourceName]:
        return [s for s, step in self.run.steps.items() if step.status is StepStatus.IN_PROGRESS]

    @precondition(lambda self: self.out())
    @rule(data=st.data(), outcome=OUTCOMES)
    def answer(self, data: st.DataObject, outcome: Any) -> None:
        source = data.draw(st.sampled_from(self.out()))
        told = found(source) if outcome == "found" else outcome
        if source is CLAUDE and outcome is NOTHING:
            return
        self.take(Returned(source, told))

    @precondition(lambda self: self.out())
    @rule()
    def crash(self) -> None:
        self.take(*(Lost(source) for source in self.out()))

    @rule(source=st.sampled_from(FOUR), seconds=st.integers(1, 100))
    def open_breaker(self, source: SourceName, seconds: int) -> None:
        until = self.now + timedelta(seconds=seconds)
        if self.run.steps[source].status is StepStatus.PENDING:
            self.take(Parked(source, Denial(StepStatus.CIRCUIT_OPEN, "failing", until)))

    @rule(source=st.sampled_from(FOUR))
    def hurry(self, source: SourceName) -> None:
        self.take(Again(source))

    @rule(source=st.sampled_from(FOUR), ready=st.booleans())
    def change_room(self, source: SourceName, ready: bool) -> None:
        (self.allowed.unready.discard if ready else self.allowed.unready.add)(source)
        self.take()

    @rule(
        source=st.sampled_from(FOUR),
        status=st.sampled_from([StepStatus.SUPPRESSED, StepStatus.BUDGET_DENIED]),
    )
    def deny(self, source: SourceName, status: StepStatus) -> None:
        self.allowed.denials[source] = Denial(status, "because")
        self.take()

    @rule()
    def cancel(self) -> None:
        self.run = replace(self.run, cancel_requested=True)
        self.take()

    @rule()
    def wait(self) -> None:
        if self.look_again_at:
            self.now = max(self.now, self.look_again_at)
        self.take()

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "run"):
            return
        for source, attempts in self.calls.items():
            assert attempts == list(range(1, len(attempts) + 1))
            assert self.run.steps[source].attempts == len(attempts)
        assert self.finishes == (self.run.status in RUN_ENDED)
        if self.now >= DEADLINE:
            assert self.run.status in RUN_ENDED

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        self.allowed.unready.clear()
        for _ in range(100):
            if all(step.ended for step in self.run.steps.values()):
                break
            self.take(*(Returned(source, error(ErrorClass.AUTH)) for source in self.out()))
            self.wait()
        assert all(step.ended for step in self.run.steps.values())
        assert self.run.status in RUN_ENDED


AnyRun.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestAnyRun = AnyRun.TestCase
