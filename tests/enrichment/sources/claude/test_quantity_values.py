"""What a number is read as: its unit and its value."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from services.enrichment.sources.claude.quantities import Quantity, quantities, unsupported

VALUES = {
    "on 4 May 2022": Quantity("day", date(2022, 5, 4)),
    "on May 4, 2022": Quantity("day", date(2022, 5, 4)),
    "on 4 May": Quantity("day of year", (5, 4)),
    "in May 2022": Quantity("month", (2022, 5)),
    "in 2022": Quantity("year", Decimal(2022)),
    "in 2000 million": Quantity("", Decimal(2_000_000_000)),
    "five percent": Quantity("%", Decimal(5)),
    "two hundred": Quantity("", Decimal(200)),
    "twenty-two hundred": Quantity("", Decimal(2_200)),
    "three thousand": Quantity("", Decimal(3_000)),
    "at \u22125": Quantity("", Decimal(-5)),
    "at -5": Quantity("", Decimal(-5)),
    "at +5": Quantity("", Decimal(5)),
    "under 10b5-1.": Quantity("label", "10b5-1"),
    "on 30 February 2022": Quantity("label", "30 february 2022"),
}


@pytest.mark.parametrize("text", VALUES)
def test_a_number_is_read_with_its_unit(text: str) -> None:
    assert list(quantities(text)) == [VALUES[text]]


def test_a_year_is_supported_by_a_month_of_it() -> None:
    assert unsupported("in 2022", "in May 2022") == []
    assert unsupported("in 2005", "in May 2022") != []


def test_a_day_of_another_year_is_not_supported() -> None:
    assert unsupported("on 4 May 2023", "on 2022-05-04") != []
