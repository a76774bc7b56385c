"""What PostgreSQL says of a refusal, as far as it quotes no values: users typed some of those."""

from __future__ import annotations

import asyncpg

QUOTING = frozenset({"22", "P0"})
"""Classes whose message itself quotes: bad data ("invalid input syntax … "), and what is raised."""


def without_values(error: asyncpg.PostgresError) -> str:
    """Return an error's code and message without its DETAIL, HINT and CONTEXT."""
    code = error.sqlstate or ""
    names = (getattr(error, each, None) for each in ("table_name", "column_name"))
    place = ".".join(filter(None, names))
    message = type(error).__name__ if code[:2] in QUOTING else str(error.args[0])
    return f"{message} ({code}{f', {place}' if place else ''})"
