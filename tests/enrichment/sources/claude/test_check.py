"""The check of what a model writes of a page: what may just stand, and what just may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrichment.sources.claude.check import fault_of
from services.enrichment.sources.findings import Person

JANE = Person("Jane Doe", "Acme Corp")
PAGE = (
    "Acme names its counsel (2017-10-05): Jane Doe joins Acme from Globex, said Ann Roe. Revenue"
    " there grew 12% to 1,200,000 euros. It will not open about 240 shops in 3 towns. Beta bought"
    " Gamma Inc. in May. She sold 50 shares of Acme. Doe talks of U.S. law."
)


def fault(text: str, quote: str = PAGE, page: str = PAGE) -> str:
    return fault_of(text, quote, page, JANE)


STAND = {
    "another form of a word": "Jane Doe joined Acme from Globex.",
    "a word that means the same": "Jane Doe came to Acme from Globex.",
    "the page and its day": "A page of October 5, 2017 says that Jane Doe joins Acme from Globex.",
    "the page's month": "In October 2017 Jane Doe joined Acme from Globex.",
    "who said it, first": "Ann Roe said that Jane Doe joins Acme from Globex.",
    "who said it, behind": "Jane Doe joins Acme, Ann Roe said.",
    "a part": "Jane Doe joins Acme.",
    "a known full name": "Jane Doe joins Acme Corp from Globex.",
    "her talk": "Jane Doe speaks of U.S. law.",
    "a number in another spelling": "Revenue grew 12 percent to EUR 1.2M.",
    "a denial kept": "It will not open about 240 shops.",
    "a month by its name": "Beta bought Gamma Inc. in May.",
    "a passive": "Gamma was bought by Beta.",
    "a joiner": "Moreover, revenue grew 12%.",
}


@pytest.mark.parametrize("kind", STAND)
def test_what_says_what_its_quotation_says_may_stand(kind: str) -> None:
    assert fault(STAND[kind]) == ""


WORDS = "a word does not stand"
FALL = {
    "a stranger first": ("Quimby joins Acme from Globex.", WORDS),
    "a stranger in lower case": ("Jane Doe joins zed quimby from Globex.", WORDS),
    "a longer name": ("Jane Doeson joins Acme from Globex.", WORDS),
    "a name of another sentence": ("Jane Doe bought Gamma.", WORDS),
    "a number's other matter": ("Jane Doe grew Acme revenue 12%.", WORDS),
    "a motive": ("Jane Doe joins Acme from Globex after she was fired for fraud.", WORDS),
    "a quantifier": ("All revenue grew 12%.", WORDS),
    "one": ("Jane Doe joins one Acme from Globex.", WORDS),
    "half": ("Half of revenue grew 12%.", WORDS),
    "praise": ("The gifted Jane Doe joins Acme.", WORDS),
    "the other verb": ("Beta sold Gamma.", WORDS),
    "another language": ("Jane Doe nunca joins Acme.", WORDS),
    "said by somebody": ("Jane Doe said that revenue grew 12%.", WORDS),
    "another relation": ("Revenue grew 12% from there.", "it relates to something else"),
    "another number": ("Revenue grew 13%.", "a number does not"),
    "another currency": ("Revenue grew 12% to 1.2 million dollars.", "a number does not"),
    "another year": ("Jane Doe joins Acme in 2018.", "a number does not"),
    "places changed": ("Jane Doe joins Globex from Acme.", "names change places"),
    "a direction lost": ("Jane Doe joins Acme, Globex.", "names change places"),
    "buyer and bought": ("Gamma bought Beta.", "names change places"),
    "a passive turned": ("Beta was bought by Gamma.", "names change places"),
    "a denial lost": ("It will open about 240 shops.", "a negation is left out"),
    "a plan lost": ("It did not open about 240 shops.", "a plan is left out"),
    "a bound lost": ("It will not open 240 shops.", "other bounds"),
    "a direction of a number": ("Revenue grew to 12%.", "other bounds"),
    "counts swapped": ("It will not open in about 240 towns.", "counts something else"),
    "a trade": ("She sold 50 shares of Acme.", "it tells a trade"),
    "nothing": ("This is that, moreover.", "it says nothing"),
    "the page alone": ("A page says this.", "it says nothing"),
    "no word at all": (" ", "it says nothing"),
    "an empty text": ("", "1 to 400 characters"),
    "a long text": ("Jane Doe joins Acme. " * 20, "1 to 400 characters"),
    "an address": ("Jane Doe joins Acme, see https://acme.example.", "an address or markup"),
    "a link": ("Jane Doe joins [Acme](x).", "an address or markup"),
    "a mail": ("Write to jane@acme.example.", "an address or markup"),
}


@pytest.mark.parametrize("kind", FALL)
def test_what_says_more_or_something_else_is_refused(kind: str) -> None:
    text, reason = FALL[kind]
    assert reason in fault(text)


def test_a_refusal_tells_nothing_of_the_person() -> None:
    said = " ".join(fault(text) for text, _ in FALL.values())
    assert [name for name in ("Jane", "Acme", "Globex", "Quimby") if name in said] == []


@pytest.mark.parametrize("quote", ["", " ", "Jane Doe joins Gamma.", PAGE + " And more."])
def test_a_quotation_stands_on_the_page(quote: str) -> None:
    assert fault("Jane Doe joins Acme.", quote) == "what it quotes does not stand on the page"


def test_only_what_is_quoted_counts() -> None:
    assert fault("Jane Doe joins Acme from Globex.", "Jane Doe joins Acme") != ""


def test_a_pronoun_stands_for_the_person_only() -> None:
    page = "Boris Vance leads the team. He likes tea."
    assert "pronoun" in fault_of("She leads the team.", "Boris Vance leads the team.", page, JANE)
    assert fault_of("He likes tea.", "He likes tea.", page, JANE) == ""


def test_a_sentence_of_four_hundred_characters_may_stand() -> None:
    page = "word " * 80
    assert fault_of("word " * 79 + "word.", page, page, JANE) == ""


# Letters and spaces: what stands for itself, without numbers, addresses or more than a sentence.
words = ("acme", "opens", "plant", "ohio", "valves", "doe", "said", "boris")
texts = st.lists(st.sampled_from(words), min_size=2)


@given(texts)
def test_what_a_page_says_may_be_repeated(words: list[str]) -> None:
    text = " ".join(words)[:400]
    if set(words) != {"said"}:
        assert fault_of(text, text, text, JANE) == ""


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_text_is_read(text: str, page: str) -> None:
    fault_of(text, page, page, JANE)
