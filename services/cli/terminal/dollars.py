"""Money: dollars for people, shown exactly; millionths of a dollar (micros) in messages."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import typer

MICROS = 1_000_000
MAX_MICROS = 2**63 - 1


def parse_dollars(option: str, text: str) -> int:
    """Parse dollars into micros: 0.50 is 500000."""
    try:
        micros = Decimal(text.removeprefix("$")) * MICROS
        if 0 <= micros <= MAX_MICROS and micros == micros.to_integral_value():
            return int(micros)
    except InvalidOperation:
        pass
    raise typer.BadParameter(
        f"{option} {text}: must be dollars such as 0.50, at least 0, with at most 6 decimals"
    )


def dollars(micros: int) -> str:
    """Return an amount in dollars, to its last digit: $0.30, $0.007."""
    whole, _, fraction = f"{Decimal(micros).scaleb(-6):,.6f}".partition(".")
    return f"${whole}.{fraction.rstrip('0'):0<2}"
