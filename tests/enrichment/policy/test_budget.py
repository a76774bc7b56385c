"""Budgets: the call that may exceed one is denied, and the reason names the budget."""

from __future__ import annotations

import pytest

from services.enrichment.policy.budget import ALL, Permit, Purse, dollars
from services.enrichment.policy.policy import Policy, SourcePolicy
from services.enrichment.sources.catalogue import SOURCES, SourceName

EXA, SEC = SourceName.EXA, SourceName.SEC
COST = SOURCES[EXA].max_cost_micros


def of_day(micros: int) -> Policy:
    """Return a policy with a budget for the day."""
    return Policy(day_budget_micros=micros)


def of_source(micros: int) -> Policy:
    """Return a policy with a budget for one source and day."""
    return Policy(sources={EXA: SourcePolicy(day_budget_micros=micros)})


def test_without_a_budget_every_call_may_be_made() -> None:
    assert Purse(Policy(), {ALL: 10**12, EXA: 10**12}).denial(EXA, 10**12, 0) is None


def test_a_call_may_use_up_the_runs_budget_and_not_exceed_it() -> None:
    purse = Purse(Policy(run_budget_micros=COST + 5), {})
    assert purse.denial(EXA, 5, 0) is None
    assert purse.denial(EXA, 6, 0) is not None


def test_a_runs_own_budget_goes_before_the_policys() -> None:
    purse = Purse(Policy(run_budget_micros=COST - 1), {})
    assert purse.denial(EXA, 0, COST) is None
    assert purse.denial(EXA, 0, 0) is not None


@pytest.mark.parametrize(
    ("policy", "key"), [(of_day(COST + 5), ALL), (of_source(COST + 5), EXA.value)]
)
def test_a_call_may_use_up_the_days_budget_and_not_exceed_it(policy: Policy, key: str) -> None:
    assert Purse(policy, {key: 5}).denial(EXA, 0, 0) is None
    assert Purse(policy, {key: 6}).denial(EXA, 0, 0) is not None


@pytest.mark.parametrize("policy", [of_day(COST), of_source(COST)])
def test_a_day_on_which_nothing_was_spent_has_its_whole_budget(policy: Policy) -> None:
    assert Purse(policy, {}).denial(EXA, 0, 0) is None


@pytest.mark.parametrize(
    ("policy", "key"), [(of_day(COST + 5), ALL), (of_source(COST + 5), EXA.value)]
)
def test_what_the_run_reserved_and_did_not_spend_is_its_own_to_spend(
    policy: Policy, key: str
) -> None:
    purse = Purse(policy, {key: 25})
    assert purse.denial(EXA, 0, 0, {EXA: 20}) is None
    assert purse.denial(EXA, 0, 0, {EXA: 19}) is not None


def test_what_the_run_did_not_spend_at_another_source_counts_for_the_day_only() -> None:
    spent = {ALL: 25, EXA.value: 25}
    unspent = {SourceName.CLAUDE: 20}
    assert Purse(of_day(COST + 5), spent).denial(EXA, 0, 0, unspent) is None
    assert Purse(of_source(COST + 5), spent).denial(EXA, 0, 0, unspent) is not None


def test_a_free_call_needs_no_budget() -> None:
    policy = Policy(run_budget_micros=1, day_budget_micros=1)
    assert Purse(policy, {ALL: 5}).denial(SEC, 5, 0) is None


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (Policy(run_budget_micros=5_000), "the run"),
        (of_source(5_000), "exa today"),
        (of_day(5_000), "today"),
    ],
)
def test_a_denial_names_the_budget_what_is_spent_and_what_the_call_may_cost(
    policy: Policy, name: str
) -> None:
    assert Purse(policy, {ALL: 100, EXA.value: 100}).denial(EXA, 100, 0) == (
        f"the budget for {name} is $0.0050, of which $0.0001 is spent; a call may cost $0.0070"
    )


def test_a_reservation_takes_the_calls_most_out_of_both_days_budgets() -> None:
    purse = Purse(of_day(2 * COST), {})
    assert purse.reserve(EXA) == Permit(EXA, COST)
    assert purse.denial(EXA, 0, 0) is None
    purse.reserve(EXA)
    assert purse.denial(EXA, 0, 0) is not None


def test_a_reservation_takes_out_of_its_own_sources_budget() -> None:
    purse = Purse(of_source(2 * COST - 1), {EXA.value: 0})
    assert purse.denial(EXA, 0, 0) is None
    purse.reserve(EXA)
    assert purse.denial(EXA, 0, 0) is not None


def test_a_reservation_leaves_what_it_was_given_as_it_was() -> None:
    committed = {ALL: 1}
    Purse(Policy(), committed).reserve(EXA)
    assert committed == {ALL: 1}


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "$0.0000"), (300_000, "$0.3000"), (1_234_567_800, "$1,234.5678")]
)
def test_an_amount_is_told_in_dollars(micros: int, text: str) -> None:
    assert dollars(micros) == text
