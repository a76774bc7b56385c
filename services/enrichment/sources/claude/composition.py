"""From what a model answered to the sentences of a summary; pure.

Of a fact that is data the model gives the id and we tell our own sentence, whatever else it wrote.
What it wrote of a page is held to the span that it quotes. A sentence that fails is left out, and
those that hold stand by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.enrichment.sources.claude.check import fault_of
from services.enrichment.sources.findings import Fact, Person, Sentence, Statement

MAX_SENTENCES = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """A fact that the model chose; of a page also what it quotes and what it says of it."""

    fact_id: str
    quote: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Composition:
    """The sentences that may stand, and why each of the others may not, without personal data."""

    sentences: tuple[Sentence, ...]
    faults: tuple[str, ...]


def compose(
    choices: Sequence[Choice], facts: Sequence[tuple[Fact, Statement]], person: Person
) -> Composition:
    """Put the sentences together in the model's order, as many as a summary has."""
    by_id = {fact.id: statement for fact, statement in facts}
    sentences: dict[str, Sentence] = {}
    faults: list[str] = []
    for choice in choices:
        sentence = _sentence(choice, by_id, person)
        if isinstance(sentence, str):
            faults.append(sentence)
        elif len(sentences) < MAX_SENTENCES:
            sentences.setdefault(sentence.text, sentence)
    return Composition(tuple(sentences.values()), tuple(faults))


def _sentence(choice: Choice, by_id: Mapping[str, Statement], person: Person) -> Sentence | str:
    """Return the sentence of a choice, or why there is none."""
    statement = by_id.get(choice.fact_id)
    if statement is None:
        return "a sentence cites no known fact"
    if statement.is_data:
        return Sentence(statement.text, (choice.fact_id,))
    fault = fault_of(choice.text, choice.quote, statement.text, person)
    return fault or Sentence(choice.text, (choice.fact_id,), choice.quote)
