"""A row is planned under Rule 10b5-1 where the filing says so of it, and only there."""

from __future__ import annotations

import pytest

from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.plans import is_planned
from tests.enrichment.sources.edgar.made import document, row


def planned(content: bytes) -> list[bool]:
    read = parse_ownership(content)
    return [is_planned(read, each) for each in read.transactions]


def of_note(said: str, *, code: str = "S", box: str = "") -> bool:
    (answer,) = planned(document(row(code=code, note="F1"), box=box, notes={"F1": said}))
    return answer


AFFIRMED = [
    "Sold pursuant to a Rule 10b5-1 plan.",
    "This transaction was made pursuant to a Rule 10b5-1 trading plan adopted on May 1, 2022.",
    "The sales were effected under a plan adopted in accordance with Rule 10b5-1.",
    "The transaction was executed in accordance with a trading plan that is intended to comply "
    "with Rule 10b5-1(c).",
    "Sale under 10b5-1 plan, adopted when the reporting person was not aware of material "
    "nonpublic information.",
    "Sales were effected automatically pursuant to a Rule 10b5-1 plan over which the reporting "
    "person has no discretion.",
    "Rule 10b5-1 Sales Plan.",
    "10b5-1 plan dated May 1, 2020.",
    "Sold under a 10b5-1 plan that expires on December 31, 2024.",
    "Sold pursuant to a Rule 10b5-1 plan, which has since been terminated.",
    "Made under a Rule 10b5-1 plan. The plan was not amended since.",
    "Made under a Rule 10b5-1 plan that does not permit the seller to influence a sale.",
    "Sold pursuant to a 10b5-1 plan to cover taxes.",
    "The shares were sold under a plan established pursuant to SEC Rule 10b5-1.",
    "On May 1, 2022 he adopted a Rule 10b5-1 trading plan. The sale was made under that plan.",
    "She entered into a Rule 10b5-1 plan on May 1, 2022, pursuant to which the sale was made.",
    "In accordance with the terms of her 10b5-1 plan, shares were sold.",
]
DENIED = [
    "No Rule 10b5-1 trading plan was in effect for this sale.",
    "The reporting person terminated a Rule 10b5-1 trading plan before this discretionary sale.",
    "Not pursuant to a Rule 10b5-1 plan.",
    "This sale was not made under a trading plan adopted under Rule 10b5-1.",
    "The sale was made outside of the reporting person's Rule 10b5-1 plan.",
    "The sale was made other than pursuant to a Rule 10b5-1 plan.",
    "The reporting person's Rule 10b5-1 plan was not in effect.",
    "The reporting person did not have a Rule 10b5-1 plan in effect.",
    "The plan established pursuant to Rule 10b5-1 expired before the sale.",
    "Sold after the cancellation of his 10b5-1 plan.",
    "The reporting person has a Rule 10b5-1 plan. This sale was not made under that plan.",
    "None of the sales was made pursuant to a Rule 10b5-1 plan.",
    "This was a discretionary sale, in addition to those under a 10b5-1 plan.",
    "The sale wasn't part of a 10b5-1 plan.",
    "Without a 10b5-1 plan.",
    "Rule 10b5-1 plan: none.",
]
UNSAID = [
    "Sold in the open market.",
    "The reporting person intends to adopt a Rule 10b5-1 plan.",
    "The reporting person will enter into a Rule 10b5-1 plan in May.",
    "The sale complied with Rule 10b-5.",
    "He will adopt a Rule 10b5-1 plan. Shares were granted under the Incentive Plan.",
    "Held by a trust under a plan of 10b-5 1934.",
]


@pytest.mark.parametrize("said", AFFIRMED)
def test_a_note_of_the_row_says_that_it_was_planned(said: str) -> None:
    assert of_note(said)


@pytest.mark.parametrize("said", DENIED)
def test_a_plan_that_is_denied_or_told_of_as_ended_is_none(said: str) -> None:
    assert not of_note(said)
    assert not of_note(said, box="1")


@pytest.mark.parametrize("said", UNSAID)
def test_what_says_nothing_of_this_trade_makes_it_no_plan(said: str) -> None:
    assert not of_note(said)


DASHES = "-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d"


@pytest.mark.parametrize("dash", DASHES, ids=lambda dash: f"{ord(dash):04x}")
def test_every_dash_is_a_dash(dash: str) -> None:
    assert of_note(f"Sold pursuant to a Rule 10b5{dash}1 plan.")


@pytest.mark.parametrize(
    "rule",
    ["10b5-1", "10B5-1", "10b5\u00a0-\u00a01", "10b-5-1", "10b5-1(c)", "10b5(1)", "10(b)5-1"],
)
def test_the_rule_is_known_in_every_spelling(rule: str) -> None:
    assert of_note(f"Sold pursuant to a Rule {rule} plan.")


def test_a_note_of_another_row_says_nothing_of_this_one() -> None:
    rows = row(1, note="F1"), row(2)
    assert planned(document(*rows, notes={"F1": "Sold under a 10b5-1 plan."})) == [True, False]


def test_a_note_about_all_sales_says_it_of_each() -> None:
    said = "The sales reported on this Form 4 were effected pursuant to a Rule 10b5-1 plan."
    rows = row(1, note="F1"), row(2), row(3, code="G")
    assert planned(document(*rows, notes={"F1": said})) == [True, True, False]


def test_remarks_about_sales_say_nothing_of_a_gift() -> None:
    said = "The sales were made under a Rule 10b5-1 plan."
    rows = row(1), row(2, code="G"), row(3, code="F"), row(4, code="P")
    assert planned(document(*rows, remarks=said)) == [True, False, False, False]


def test_remarks_about_all_transactions_speak_of_each() -> None:
    said = "All transactions were made under a Rule 10b5-1 plan."
    assert planned(document(row(1), row(2, code="M"), remarks=said)) == [True, True]


def test_a_note_of_the_row_outweighs_the_remarks() -> None:
    said = "The sales were made under a Rule 10b5-1 plan."
    rows = row(1), row(2, note="F1")
    denied = "This sale was not made under a 10b5-1 plan."
    assert planned(document(*rows, remarks=said, notes={"F1": denied})) == [True, False]


def test_a_note_on_an_exercise_that_speaks_of_the_sale_does_not_plan_the_exercise() -> None:
    said = "The sale was made under a Rule 10b5-1 plan."
    assert not of_note(said, code="M")


@pytest.mark.parametrize(("codes", "answer"), [("S", True), ("SS", True), ("P", True)])
def test_the_box_speaks_for_a_filing_of_one_kind_of_market_trade(codes: str, answer: bool) -> None:
    rows = [row(number, code=code) for number, code in enumerate(codes, 1)]
    assert planned(document(*rows, box="1")) == [answer] * len(codes)


@pytest.mark.parametrize("codes", ["G", "A", "F", "M", "SG", "SM", "SP"])
def test_the_box_alone_plans_nothing_else(codes: str) -> None:
    rows = [row(number, code=code) for number, code in enumerate(codes, 1)]
    assert planned(document(*rows, box="1")) == [False] * len(codes)


def test_a_box_that_is_explained_by_a_note_plans_no_other_row() -> None:
    rows = row(1, note="F1"), row(2)
    said = "Sold under a 10b5-1 plan."
    assert planned(document(*rows, box="1", notes={"F1": said})) == [True, False]


def test_a_box_and_the_day_of_adoption_are_a_plan() -> None:
    said = "The reporting person adopted the Rule 10b5-1 plan on May 1, 2023."
    assert of_note(said, box="1")
    assert not of_note(said)
