"""The enrichment service's SQL statements, and how they are planned."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from chassis.database import Plans, Queries

SQL = Queries(Path(__file__).parent / "queries.sql")


GENERIC: Plans = "force_generic_plan"
"""The statements take lists as JSON: no value makes one plan better than another."""


ANONYMOUS = UUID(int=0)
"""The user in whose name an erased user's rows stand."""
