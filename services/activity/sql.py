"""The activity service's statements, and how they are planned."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from chassis.database import Plans, Queries

SQL = Queries(Path(__file__).parent / "queries.sql")


SOURCE = "prospect/activity"


RELAY_ROLE = "activity_relay"

# The time that PostgreSQL, Python and protobuf all have, less a day for time zones.
EARLIEST_TIME = datetime.fromisoformat("0001-01-02T00:00:00+00:00")
LATEST_TIME = datetime.fromisoformat("9999-12-30T00:00:00+00:00")


# A statement that reads an index in order has one good plan, which is made once. One whose best
# plan depends on how many rows match is planned for its values.
IN_ORDER: Plans = "force_generic_plan"


BY_VALUE: Plans = "force_custom_plan"
