"""A number of a sentence is found in the facts by value and unit, in whatever spelling."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrichment.sources.claude.quantities import quantities, unsupported

STAND_THERE = {
    "a thousands separator": ("sold 25,000 shares", "sold 25000 shares"),
    "none": ("sold 25000 shares", "sold 25,000 shares"),
    "trailing zeros": ("at $8.50 each", "at $8.5 each"),
    "millions in words": ("about 1.2 million users", "1,200,000 users"),
    "millions as a letter": ("$3M", "$3,000,000"),
    "money without its sign": ("a price of 159.94", "at $159.94 each"),
    "a number in words": ("in seven lots", "in 7 reported transactions"),
    "tens in words": ("twenty-five thousand shares", "25000 shares"),
    "percent in words": ("grew 5 percent", "grew 5%"),
    "a full stop after it": ("It has 40.", "40 people"),
    "full-width digits": ("sold \uff12\uff15 shares", "25 shares"),
    "a day in words": ("on May 4, 2022", "on 2022-05-04"),
    "a British day": ("on 4 May 2022", "on 2022-05-04"),
    "an ordinal day": ("on May 4th, 2022", "on 2022-05-04"),
    "a month of a day": ("in May 2022", "on 2022-05-04"),
    "a year of a day": ("in 2022", "on 2022-05-04"),
    "a day without its year": ("on May 4", "on 2022-05-04"),
    "a second day": ("between 2022-05-04 and 2022-05-06", "2022-05-06, 2022-05-04"),
    "a label": ("under a Rule 10b5-1 plan", ", under a Rule 10b5-1 plan"),
    "a label with a dash": ("a Rule 10b5\u20131 plan", "a Rule 10b5-1 plan"),
    "an American day": ("on 05/04/2022", "on 2022-05-04"),
    "a thin space": ("25\u202f000 shares", "25000 shares"),
    "money by name": ("to 1.2 million euros", "to €1,200,000"),
    "a currency code": ("EUR 1.2M", "1,200,000 euros"),
    "dollars by name": ("48 million dollars", "$48 million"),
    "a pronoun": ("one of the directors", "a director"),
    "no number": ("She leads the legal team.", ""),
}


@pytest.mark.parametrize("spelling", STAND_THERE)
def test_a_number_is_found_in_another_spelling(spelling: str) -> None:
    sentence, fact = STAND_THERE[spelling]
    assert unsupported(sentence, fact) == []


STAND_NOT_THERE = {
    "another number": ("25,001 shares", "25000 shares"),
    "a rounded number": ("about 1.2 million", "1,234,567"),
    "a part of a number": ("250 shares", "25000 shares"),
    "money for a count": ("$25,000", "25000 shares"),
    "a count for a percentage": ("25 shares", "25% of the shares"),
    "a percentage for a count": ("25%", "25 shares"),
    "another currency": ("€8.88", "$8.88"),
    "another currency by name": ("8.88 euros", "$8.88"),
    "an American day read as a British one": ("on 05/04/2022", "on 2022-04-05"),
    "another scale": ("1.2 billion", "1.2 million"),
    "another day": ("on May 5, 2022", "on 2022-05-04"),
    "another month": ("in June 2022", "on 2022-05-04"),
    "another year": ("in 2023", "on 2022-05-04"),
    "a year as a count": ("2022 shares", "on 2022-05-04"),
    "a day of a month as a count": ("4 shares", "on 2022-05-04"),
    "a number in words": ("in eight lots", "in 7 transactions"),
    "hundreds of": ("hundreds of shares", "250 shares"),
    "another label": ("Rule 10b5-2", "Rule 10b5-1"),
    "a part of a label": ("5 plans", "Rule 10b5-1"),
    "a sign": ("fell by -5%", "5%"),
    "Arabic digits": ("\u0662\u0665 shares", "24 shares"),
    "half": ("\u00bd of them", "3 of them"),
}


@pytest.mark.parametrize("kind", STAND_NOT_THERE)
def test_a_number_that_says_something_else_is_told(kind: str) -> None:
    sentence, fact = STAND_NOT_THERE[kind]
    assert unsupported(sentence, fact)


numbers = st.decimals(0, 10**12, places=2, allow_nan=False)
counts = st.integers(0, 10**12)
days = st.dates(date(1950, 1, 1), date(2049, 12, 31))


@given(numbers)
def test_separators_and_zeros_change_no_number(number: Decimal) -> None:
    assert unsupported(f"It is {number:,f}.", f"it is {number.normalize():f}") == []


@given(numbers, numbers)
def test_a_number_supports_only_itself(one: Decimal, other: Decimal) -> None:
    assert bool(unsupported(f"it is {one:,f} now", f"it was {other:f} then")) == (one != other)


@given(st.decimals(0, 10**3, places=3, allow_nan=False))
def test_a_million_in_words_is_a_million(number: Decimal) -> None:
    assert unsupported(f"${number:f} million", f"${number * 1_000_000:,f}") == []


@given(counts)
def test_units_are_never_mixed(number: int) -> None:
    spellings = (f"${number}", f"{number}%", f"€{number}")
    for one in spellings:
        assert [bool(unsupported(one, other)) for other in spellings].count(False) == 1


@given(days)
def test_a_day_supports_its_month_and_year_in_words(day: date) -> None:
    for words in (f"{day:%B} {day.day}, {day.year}", f"{day:%B %Y}", f"in {day.year}"):
        assert unsupported(f"It happened {words}.", f"on {day}") == []


@given(days, days)
def test_a_day_supports_only_itself(one: date, other: date) -> None:
    said = f"on {one:%B} {one.day}, {one.year}"
    assert bool(unsupported(said, f"on {other}")) == (one != other)


@given(st.text(max_size=200))
def test_a_text_supports_its_own_numbers(text: str) -> None:
    assert unsupported(text, text) == []


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    list(quantities(text))
