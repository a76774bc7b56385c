"""What requests become: a run of their own, a place in one that is there, or a refusal."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from services.enrichment.policy.policy import Policy, SourcePolicy
from services.enrichment.run.plan import (
    HEAD_START,
    Accepted,
    CannotJoin,
    InFlight,
    Known,
    KnownAnswer,
    Plan,
    Priority,
    Request,
    first_steps,
    is_fresh,
    keeps_answers,
    keeps_findings,
    new_run,
    plan_runs,
)
from services.enrichment.run.state import Step, StepStatus
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Person

CONTACTOUT, EXA, SEC = SourceName.CONTACTOUT, SourceName.EXA, SourceName.SEC
CLAUDE = SourceName.CLAUDE
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PROSPECT, OTHER, RUN = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=100)
ADA = Person("Ada Lovelace", "Engines", is_public_company=True, company_cik=7)
GRACE = replace(ADA, name="Grace Hopper")
DEBOUNCING = Policy(debounce_seconds=5)


def a_request(person: Person = ADA, prospect_id: uuid.UUID = PROSPECT, **values: Any) -> Request:
    return Request(uuid.UUID(int=8), uuid.UUID(int=9), prospect_id, person, **values)


def planned(
    *requests: Request,
    in_flight: InFlight | None = None,
    policy: Policy | None = None,
    words: Person = ADA,
) -> Plan:
    """Plan requests, whose keys are 0, 1, …; new runs are 1000, 1001, …"""
    ids = count(1000)
    return plan_runs(
        {uuid.UUID(int=key): request for key, request in enumerate(requests)},
        {PROSPECT: Known(words, {})},
        {PROSPECT: in_flight} if in_flight else {},
        policy or Policy(),
        lambda: uuid.UUID(int=next(ids)),
    )


def answer(plan: Plan, key: int = 0) -> Accepted:
    accepted = plan.answers[uuid.UUID(int=key)]
    assert isinstance(accepted, Accepted)
    return accepted


# -- requests for one prospect ---------------------------------------------------------------------


def test_the_first_request_begins_a_run_and_the_next_joins_it() -> None:
    plan = planned(a_request(), a_request(), a_request(prospect_id=OTHER))
    first, second = uuid.UUID(int=1000), uuid.UUID(int=1001)
    assert answer(plan, 0) == Accepted(first, PROSPECT, joined=False)
    assert answer(plan, 1) == Accepted(first, PROSPECT, joined=True)
    assert answer(plan, 2) == Accepted(second, OTHER, joined=False)
    assert {prospect: run for prospect, (run, _) in plan.begun.items()} == {
        PROSPECT: first,
        OTHER: second,
    }


def test_a_run_that_begins_keeps_the_first_request_where_the_words_are_the_same() -> None:
    first, second = a_request(budget_micros=1), a_request(budget_micros=2)
    assert planned(first, second).begun[PROSPECT][1] is first


@pytest.mark.parametrize(
    ("second", "policy"), [(a_request(GRACE), Policy()), (a_request(budget_micros=2), DEBOUNCING)]
)
def test_a_run_that_begins_becomes_the_newest_request_with_other_words_or_debounced(
    second: Request, policy: Policy
) -> None:
    plan = planned(a_request(), second, policy=policy)
    assert plan.begun[PROSPECT] == (uuid.UUID(int=1000), second)
    assert answer(plan, 1).joined


WAITS = InFlight(RUN, None, NOW)
UNDER_WAY = InFlight(RUN, NOW, NOW)


@pytest.mark.parametrize("in_flight", [WAITS, UNDER_WAY])
def test_a_request_with_the_same_words_joins_the_run_that_is_there(in_flight: InFlight) -> None:
    plan = planned(a_request(replace(ADA, title="Countess")), in_flight=in_flight)
    assert answer(plan) == Accepted(RUN, PROSPECT, joined=True)
    assert plan == Plan(answers=plan.answers)


def test_a_request_for_another_prospect_begins_a_run_beside_one_that_joins() -> None:
    plan = planned(a_request(), a_request(prospect_id=OTHER), in_flight=UNDER_WAY)
    assert answer(plan, 1) == Accepted(uuid.UUID(int=1000), OTHER, joined=False)


@pytest.mark.parametrize(
    ("request_", "policy"), [(a_request(GRACE), Policy()), (a_request(), DEBOUNCING)]
)
def test_a_run_that_waits_becomes_the_newest_request_with_other_words_or_debounced(
    request_: Request, policy: Policy
) -> None:
    plan = planned(request_, in_flight=WAITS, policy=policy)
    assert answer(plan) == Accepted(RUN, PROSPECT, joined=True)
    assert plan.debounced == {PROSPECT: request_}


def test_a_run_under_way_is_not_debounced() -> None:
    assert planned(a_request(), in_flight=UNDER_WAY, policy=DEBOUNCING).debounced == {}


def test_a_request_is_compared_with_the_words_that_the_run_took_last() -> None:
    grace = a_request(GRACE)
    plan = planned(grace, a_request(GRACE, budget_micros=2), in_flight=WAITS)
    assert plan.debounced == {PROSPECT: grace}


@pytest.mark.parametrize(
    ("request_", "in_flight", "doing"),
    [
        (a_request(GRACE), UNDER_WAY, "under way with other words"),
        (a_request(), replace(UNDER_WAY, cancel_requested=True), "being cancelled"),
        (a_request(), replace(WAITS, cancel_requested=True), "being cancelled"),
    ],
)
def test_a_request_that_cannot_join_is_told_of_the_run(
    request_: Request, in_flight: InFlight, doing: str
) -> None:
    plan = planned(request_, in_flight=in_flight)
    text = f"run {RUN} of this prospect is {doing}: request again when it has ended"
    assert plan.answers[uuid.UUID(int=0)] == CannotJoin(RUN, text, in_flight.cancel_requested)
    assert plan == Plan(answers=plan.answers)


# -- the first steps -------------------------------------------------------------------------------


def steps(
    request: Request | None = None, known: Known | None = None, policy: Policy | None = None
) -> Mapping[SourceName, Step]:
    return first_steps(request or a_request(), known, policy or Policy(), NOW)


def answered(
    *sources: SourceName,
    ago: timedelta = timedelta(),
    person: Person = ADA,
    late: frozenset[SourceName] = frozenset(),
) -> Known:
    """Return what is known where these sources have answered."""
    found = KnownAnswer(StepStatus.COMPLETE, NOW - ago)
    return Known(person, dict.fromkeys(sources, found), late)


def test_of_a_new_person_every_source_is_asked_at_once_and_then_the_summary() -> None:
    assert steps() == {
        CONTACTOUT: Step(CONTACTOUT, ready_at=NOW),
        EXA: Step(EXA, ready_at=NOW),
        SEC: Step(SEC, ready_at=NOW),
        CLAUDE: Step(CLAUDE, ready_at=None),
    }


def test_an_answer_that_still_stands_is_taken_over_with_when_it_came() -> None:
    known = answered(EXA, ago=timedelta(hours=1, minutes=5))
    step = steps(known=known)[EXA]
    assert (step.status, step.reused) == (StepStatus.COMPLETE, True)
    assert step.reason == "answered at 2026-11-24 10:55 UTC"
    assert step.ended_at == NOW - timedelta(hours=1, minutes=5)


def test_an_answer_that_is_taken_over_says_what_was_looked_through_in_vain() -> None:
    nothing = KnownAnswer(StepStatus.NOT_FOUND, NOW, "no trades since 2025-11-24")
    step = steps(known=Known(ADA, {SEC: nothing}))[SEC]
    assert step.reason == "answered at 2026-11-24 12:00 UTC: no trades since 2025-11-24"


def test_an_answer_that_is_as_old_as_it_may_be_does_not_stand() -> None:
    age = SOURCES[EXA].fresh_for
    old, young = KnownAnswer(StepStatus.COMPLETE, NOW - age), KnownAnswer(
        StepStatus.COMPLETE, NOW - age + timedelta(microseconds=1)
    )  # fmt: skip
    assert not is_fresh(old, EXA, Policy(), NOW)
    assert is_fresh(young, EXA, Policy(), NOW)
    assert steps(known=answered(EXA, ago=age))[EXA] == Step(EXA, ready_at=NOW)


@pytest.mark.parametrize(
    ("request_", "known"),
    [
        (a_request(force=True), answered(EXA)),
        (a_request(), answered(EXA, person=GRACE)),
        (a_request(), answered(EXA, late=frozenset({EXA}))),
        (a_request(sources=(EXA,)), answered(EXA)),
    ],
    ids=["forced", "of another person", "still late", "asked for by name"],
)
def test_an_answer_is_not_taken_over(request_: Request, known: Known) -> None:
    assert steps(request_, known)[EXA] == Step(EXA, ready_at=NOW)


def test_a_summary_is_never_taken_over_before_the_others_have_answered() -> None:
    assert steps(known=answered(CLAUDE))[CLAUDE] == Step(CLAUDE, ready_at=None)


def skipped(source: SourceName, reason: str) -> Step:
    ready_at = None if source is CLAUDE else NOW
    skipped = StepStatus.SKIPPED
    return Step(source, status=skipped, reason=reason, ended_at=NOW, ready_at=ready_at)


def test_sources_that_a_request_does_not_name_are_not_asked() -> None:
    first = steps(a_request(sources=(EXA,)))
    assert first[EXA] == Step(EXA, ready_at=NOW)
    for source in (CONTACTOUT, SEC, CLAUDE):
        assert first[source] == skipped(source, "not asked for")


def test_the_answers_of_sources_that_a_request_does_not_name_are_taken_over_however_old() -> None:
    known = answered(CONTACTOUT, ago=timedelta(days=1_000))
    assert steps(a_request(sources=(EXA,)), known)[CONTACTOUT].reused


def test_a_source_that_another_run_still_waits_for_is_asked_though_not_named() -> None:
    known = answered(late=frozenset({SEC}))
    assert steps(a_request(sources=(EXA,)), known)[SEC] == Step(SEC, ready_at=NOW)


def test_a_source_that_the_policy_disables_is_not_asked() -> None:
    policy = Policy(sources={EXA: SourcePolicy(is_enabled=False)})
    assert steps(policy=policy)[EXA] == skipped(EXA, "the tenant's policy does not allow it")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"is_public_company": False}, "the company is not public"),
        ({"company_cik": None}, "no company_cik was given"),
    ],
)
def test_the_sec_is_asked_about_public_companies_with_a_cik(
    values: dict[str, Any], reason: str
) -> None:
    first = steps(a_request(replace(ADA, **values)))
    assert first[SEC] == skipped(SEC, reason)
    assert first[EXA].status is StepStatus.PENDING


# -- a new run -------------------------------------------------------------------------------------


def test_a_new_run_has_its_requests_first_steps_and_what_is_known_of_its_prospect() -> None:
    request, wake_at = a_request(), NOW + timedelta(seconds=5)
    known = {PROSPECT: answered(EXA), OTHER: answered(SEC)}
    run = new_run(RUN, request, known, Policy(), NOW, wake_at, OTHER)
    assert run.steps == steps(request, known[PROSPECT])
    assert (run.run_id, run.request, run.known) == (RUN, request, known[PROSPECT])
    assert (run.created_at, run.wake_at, run.batch_id) == (NOW, wake_at, OTHER)


@pytest.mark.parametrize(
    ("before", "answers", "findings"),
    [
        (ADA, True, True),
        (replace(ADA, title="Countess"), True, True),
        (replace(ADA, name="ADA  lovelace"), True, True),
        (replace(ADA, email="ada@engines.example"), False, True),
        (replace(ADA, company="Looms"), False, False),
        (GRACE, False, False),
    ],
)
def test_other_words_let_findings_stand_of_the_same_person_and_answers_of_the_same_words(
    before: Person, answers: bool, findings: bool
) -> None:
    assert keeps_answers(before, ADA) is answers
    assert keeps_findings(before, ADA) is findings
    run = new_run(RUN, a_request(), {PROSPECT: Known(before, {})}, Policy(), NOW, NOW)
    assert (run.keeps_answers, run.keeps_findings) == (answers, findings)


@pytest.mark.parametrize(
    ("before", "now", "answers"),
    [
        ("https://www.linkedin.com/in/ada/", "linkedin.com/in/ada", True),
        ("https://www.linkedin.com/in/ada", "https://www.linkedin.com/in/grace", False),
        ("https://www.linkedin.com/company/a", "https://www.linkedin.com/company/b", False),
    ],
)
def test_a_profile_is_the_same_however_it_is_written(before: str, now: str, answers: bool) -> None:
    first, second = (replace(ADA, linkedin_url=url) for url in (before, now))
    assert keeps_answers(first, second) is answers


def test_a_run_of_a_new_prospect_has_nothing_to_lose() -> None:
    run = new_run(RUN, a_request(), {}, Policy(), NOW, NOW)
    assert run.keeps_answers
    assert run.keeps_findings


def test_each_priority_stands_half_a_day_before_the_one_below() -> None:
    assert [HEAD_START[each] for each in Priority] == [timedelta(hours=h) for h in (0, 12, 24)]
