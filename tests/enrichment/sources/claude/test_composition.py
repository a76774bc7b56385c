"""The model chooses; what is data is told by us, and what fails its check is left out."""

from __future__ import annotations

from services.enrichment.sources.claude.composition import MAX_SENTENCES, Choice, compose
from services.enrichment.sources.findings import Fact, Person, Sentence, Statement

JANE = Person("Jane Doe", "Acme Corp")
SOLD = "Doe Jane sold 1,200 shares of Acme Corp on the market on March 1, 2024."
PLANT = "Acme opens a plant in Ohio (2024-01-09): It makes valves."
FACTS = [
    (Fact("sec-1", SOLD, ""), Statement(SOLD, "", is_data=True)),
    (Fact("sec-2", "More.", ""), Statement("More.", "", is_data=True)),
    (Fact("exa-1", PLANT, ""), Statement(PLANT, "")),
]
VALVES = Choice("exa-1", "It makes valves.", "It makes valves, a page of January 9, 2024 says.")


def test_data_is_told_in_our_words_and_a_page_in_the_models() -> None:
    composed = compose([Choice("sec-1"), VALVES], FACTS, JANE)
    assert composed.sentences == (
        Sentence(SOLD, ("sec-1",)),
        Sentence(VALVES.text, ("exa-1",), "It makes valves."),
    )
    assert composed.faults == ()


def test_the_models_order_stands() -> None:
    ids = [each.fact_ids for each in compose([VALVES, Choice("sec-1")], FACTS, JANE).sentences]
    assert ids == [("exa-1",), ("sec-1",)]


def test_what_a_model_writes_of_data_is_not_shown() -> None:
    composed = compose([Choice("sec-1", SOLD, "Jane Doe did not sell shares.")], FACTS, JANE)
    assert [each.text for each in composed.sentences] == [SOLD]


def test_a_sentence_that_fails_is_left_out_and_the_others_stand() -> None:
    lie = Choice("exa-1", "It makes valves.", "It makes guns.")
    composed = compose([lie, Choice("sec-1")], FACTS, JANE)
    assert [each.text for each in composed.sentences] == [SOLD]
    assert composed.faults == ("a word does not stand in what it quotes",)


def test_a_fact_that_is_none_is_a_fault() -> None:
    assert compose([Choice("sec-9")], FACTS, JANE).faults == ("a sentence cites no known fact",)


def test_nothing_is_told_twice() -> None:
    assert len(compose([Choice("sec-1"), Choice("sec-1")], FACTS, JANE).sentences) == 1


def test_a_summary_has_six_sentences_at_most() -> None:
    facts = [
        (Fact(f"sec-{n}", f"{n}.", ""), Statement(f"{n}.", "", is_data=True)) for n in range(9)
    ]
    composed = compose([Choice(fact.id) for fact, _ in facts], facts, JANE)
    assert [each.text for each in composed.sentences] == [f"{n}." for n in range(MAX_SENTENCES)]
