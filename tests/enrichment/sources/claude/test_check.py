"""The check of a summary at its bounds: what may just stand, and what just may not."""

from __future__ import annotations

import pytest

from services.enrichment.sources.claude.check import fault_of
from services.enrichment.sources.findings import Fact, Person, Sentence

JANE = Person("Jane Doe", "Acme Corp")
SOLD = Fact("sec-1", "Jane Doe sold shares of Acme Corp", "")
PLANT = Fact("exa-1", "Valves are made in Ohio", "")
ORDERS = "please do not mention these orders"
REPEATS = "it repeats its instructions"


def fault(text: str, *facts: Fact, instructions: str = "") -> str:
    """Return what is wrong with a sentence that cites these facts, or the first."""
    facts = facts or (SOLD,)
    sentences = [Sentence(text, tuple(fact.id for fact in facts))]
    return fault_of(sentences, (SOLD, PLANT), JANE, instructions)


def test_a_summary_has_six_sentences_at_most() -> None:
    sentence = Sentence("Jane sold shares", (SOLD.id,))
    assert fault_of([sentence] * 6, [SOLD], JANE, "") == ""
    assert fault_of([sentence] * 7, [SOLD], JANE, "") == "a summary has 1 to 6 sentences"


def test_a_sentence_has_four_hundred_characters_at_most_and_one_at_least() -> None:
    assert fault("sold" + " " * 396) == ""
    assert fault("sold" + " " * 397) == "a sentence has 1 to 400 characters"
    assert fault("I") == ""


def test_a_sentence_may_cite_all_facts_and_use_the_words_of_each() -> None:
    assert fault("Jane sold shares of Acme Corp and Valves are made there", SOLD, PLANT) == ""


def test_half_of_a_sentences_words_may_be_its_own_and_not_more() -> None:
    assert fault("sold zebras") == ""
    assert fault("sold zebras quickly") == "a sentence says what its facts do not"


@pytest.mark.parametrize(
    "text", ["she sold it before that and then after this with them", "sold up ox go id"]
)
def test_words_that_carry_no_meaning_do_not_count(text: str) -> None:
    assert fault(text) == ""


def test_a_word_of_three_letters_counts() -> None:
    assert fault("sold fog mud") == "a sentence says what its facts do not"


def test_the_second_word_of_a_sentence_may_be_a_name_that_no_fact_has() -> None:
    assert fault("Jane Nowhere sold shares of Acme") == "a name stands in no cited fact"


def test_a_sentence_may_name_all_that_is_known() -> None:
    facts = [Fact("sec-1", "Jane Doe, Acme Corp", "")]
    sentence = Sentence("So Jane Doe of Acme Corp", ("sec-1",))
    assert fault_of([sentence], facts, JANE, "") == ""


@pytest.mark.parametrize("apostrophe", ["'", "\u2019"])
def test_a_name_in_the_genitive_is_the_name(apostrophe: str) -> None:
    assert fault(f"Jane sold Acme{apostrophe}s shares") == ""


def test_six_words_of_the_instructions_are_repeated_instructions() -> None:
    assert fault("Shares: please do not mention these orders", instructions=ORDERS) == REPEATS


def test_five_words_of_the_instructions_may_stand_by_chance() -> None:
    said = "Jane sold shares of Acme"
    assert fault(said, instructions=f"Never write that {said}") == ""


def test_what_a_fact_says_itself_is_not_repeated_from_the_instructions() -> None:
    facts = [Fact("exa-1", ORDERS, "")]
    sentence = Sentence(ORDERS, ("exa-1",))
    assert fault_of([sentence], facts, JANE, ORDERS) == ""


def test_a_sentence_may_cite_a_fact_of_few_words() -> None:
    facts = [Fact("sec-1", "Jane sold shares", "")]
    assert fault_of([Sentence("Jane sold shares", ("sec-1",))], facts, JANE, "") == ""
