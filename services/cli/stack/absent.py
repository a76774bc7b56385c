"""`prospect demo` and `prospect dev` where the development stack is absent, as in the image."""

from __future__ import annotations

from chassis.errors import OperatorError

TAKES_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}


def absent() -> None:
    """Not installed here: pip install 'prospect-platform[dev]'."""
    raise OperatorError(
        "the development stack is not installed here: pip install 'prospect-platform[dev]'"
    )
