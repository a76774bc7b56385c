"""A plugin of pytest for mutants: quick tests first, and no search for the smallest failure."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings

# A mutant needs one failure, not the smallest one, and the same verdict in the next run.
settings.register_profile(
    "mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None
)
settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what draws its examples last: it takes a hundred times as long."""
    items.sort(key=_draws)


def _draws(item: pytest.Item) -> bool:
    function = getattr(item, "function", None)
    return function is None or hasattr(function, "hypothesis") or item.name == "runTest"
