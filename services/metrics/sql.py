"""The metrics service's statements."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from chassis.database import Queries

ANONYMOUS = UUID(int=0)


SOURCE = "prospect/metrics"


SQL = Queries(Path(__file__).parent / "queries.sql")
