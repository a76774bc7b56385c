"""A policy's values: what it says of a source, and what stands where it says nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.enrichment.policy.policy import Policy, SourcePolicy, lookup_order
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Person

CONTACTOUT, EXA = SourceName.CONTACTOUT, SourceName.EXA


def test_a_source_that_the_policy_does_not_name_is_allowed() -> None:
    assert Policy().source(EXA) == SourcePolicy(is_enabled=True)


def test_a_source_is_allowed_what_the_policy_says() -> None:
    disabled = SourcePolicy(is_enabled=False)
    assert Policy(sources={EXA: disabled}).source(EXA) is disabled


def test_answers_stand_as_long_as_the_policy_says_or_else_the_source() -> None:
    policy = Policy(sources={EXA: SourcePolicy(fresh_for=timedelta(hours=1))})
    assert policy.fresh_for(EXA) == timedelta(hours=1)
    assert policy.fresh_for(CONTACTOUT) == SOURCES[CONTACTOUT].fresh_for


@pytest.mark.parametrize(
    ("policy", "has_one"),
    [
        (Policy(), False),
        (Policy(run_budget_micros=1), False),
        (Policy(day_budget_micros=1), True),
        (Policy(sources={EXA: SourcePolicy()}), False),
        (
            Policy(sources={CONTACTOUT: SourcePolicy(), EXA: SourcePolicy(day_budget_micros=1)}),
            True,
        ),
    ],
)
def test_a_budget_of_the_day_is_the_tenants_or_a_sources(policy: Policy, has_one: bool) -> None:
    assert policy.has_day_budget is has_one


def test_a_tenant_orders_the_lookups_of_contactout_and_no_others() -> None:
    assert lookup_order(CONTACTOUT, ["email"]) == ["email"]
    assert lookup_order(EXA, ["email"]) == ()


def test_a_person_is_asked_about_in_the_tenants_order() -> None:
    ada = Person("Ada", "Engines", email="ada@engines.example")
    policy = Policy(contact_lookups=("name_and_company", "email", "linkedin_url"))
    assert policy.ways_to_ask(CONTACTOUT, ada) == ("name_and_company", "email")
    assert Policy().ways_to_ask(CONTACTOUT, ada) == ("email", "name_and_company")
